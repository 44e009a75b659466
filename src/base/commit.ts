/** The commit of this code: written by the build (scripts/write-commit.mjs), or read from git in a checkout. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from './packageRoot.ts';

/** For built code only, because `src/` may have changed since. */
const written = new URL('../commit.txt', import.meta.url);

/** The short hash, with `+` if files differed from it; undefined if unknown. */
export function commitOfCode(): string | undefined {
  try {
    if (existsSync(written)) return readFileSync(written, 'utf8').trim() || undefined;
    // A package inside another repository does not have that repository's commit.
    if (!existsSync(join(packageRoot, '.git'))) return undefined;
    const describe = ['describe', '--always', '--exclude=*', '--dirty=+'];
    // Loaded only here: built code has no need of it, and it takes as long to load as ten modules.
    const { execFileSync } = process.getBuiltinModule('node:child_process');
    return execFileSync('git', describe, { cwd: packageRoot, stdio: 'pipe', encoding: 'utf8' }).trim();
  } catch {
    // Without git or access, the version is shown without a commit.
    return undefined;
  }
}
