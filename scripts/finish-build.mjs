// What the compiler leaves to do: copies pages and style sheets, marks the command line as executable, and, in a checkout of this
// repository, links it where `npx launch` looks.
// A package's own `bin` is linked into node_modules/.bin only in the projects that install it, never in itself.
import { chmodSync, copyFileSync, existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const pages = ['dashboard/page', 'serve/page'].flatMap((folder) => [`${folder}/index.html`, `${folder}/page.css`]);
for (const name of ['web/base.css', ...pages]) copyFileSync(join(root, 'src', name), join(root, 'dist', name));

const entry = join(root, 'dist', 'cli', 'main.js');
if (existsSync(entry)) {
  chmodSync(entry, 0o755);
  const bin = join(root, 'node_modules', '.bin');
  if (existsSync(join(root, 'node_modules')) && process.platform !== 'win32') {
    mkdirSync(bin, { recursive: true });
    for (const name of ['launch', 'lockstep']) {
      const link = join(bin, name);
      rmSync(link, { force: true });
      symlinkSync(relative(bin, entry), link);
    }
  }
}
