// Unpacks the packages that npm packs.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The names that `tar` gets are relative: in Git Bash on Windows it takes the `C:` of a path for the name of a host.
 * @param {string} tarball
 * @param {string} into a folder, which is made
 * @returns the folder with the package's files
 * @throws where the file is not such a package; `stderr` of the error has what `tar` said
 */
export function unpack(tarball, into) {
  mkdirSync(into, { recursive: true });
  copyFileSync(tarball, join(into, 'package.tgz'));
  execFileSync('tar', ['-xzf', 'package.tgz'], { cwd: into, stdio: 'pipe' });
  return join(into, 'package');
}
