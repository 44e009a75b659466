// Writes dist/commit.txt, from which the built command knows its commit where there is no git. Run by `npm run build`;
// `npm run pack:release` builds elsewhere, and passes the folder of the checkout.
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const checkout = process.argv[2] ?? root;
const file = join(root, 'dist', 'commit.txt');
rmSync(file, { force: true });
try {
  if (existsSync(join(checkout, '.git'))) {
    const describe = ['describe', '--always', '--exclude=*', '--dirty=+'];
    writeFileSync(file, execFileSync('git', describe, { cwd: checkout, stdio: 'pipe', encoding: 'utf8' }));
  }
} catch {
  // Without git the command shows its version without a commit.
}
