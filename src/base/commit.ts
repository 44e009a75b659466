/** Which commit this code is of: written by the build (scripts/write-commit.mjs), else asked of git where this is a checkout. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from './packageRoot.ts';

/** Of the built code only: `src/` may have changed since. */
const written = new URL('../commit.txt', import.meta.url);

/** Short, with `+` where files differed from it; undefined where nobody knows. */
export function commitOfCode(): string | undefined {
  try {
    if (existsSync(written)) return readFileSync(written, 'utf8').trim() || undefined;
    // A package inside of another repository is of no commit of that.
    if (!existsSync(join(packageRoot, '.git'))) return undefined;
    const describe = ['describe', '--always', '--exclude=*', '--dirty=+'];
    return execFileSync('git', describe, { cwd: packageRoot, stdio: 'pipe', encoding: 'utf8' }).trim();
  } catch {
    // No git, or no access: a version is shown without the commit.
    return undefined;
  }
}
