// What the compiler leaves to do: copies pages, style sheets and parts of packages that are too large to install, marks the command
// line as executable, and, in a checkout of this repository, links it where `npx launch` looks.
// A package's own `bin` is linked into node_modules/.bin only in the projects that install it, never in itself.
import { chmodSync, copyFileSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { requireOf } from './buildTools.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const pages = ['dashboard/page', 'serve/page'].flatMap((folder) => [`${folder}/index.html`, `${folder}/page.css`]);
for (const name of ['web/base.css', ...pages]) copyFileSync(join(root, 'src', name), join(root, 'dist', name));

// The stamp is gone while prepare.mjs builds anew: then the packages may differ from those that were copied.
const isNew = !existsSync(join(root, 'dist', 'build.stamp'));
// Copies two of the 18 weights of Inter (SIL Open Font License) and the rank tables of a package of 30 MB (MIT), each with its licence.
if (isNew || !existsSync(join(root, 'dist', 'fonts', 'LICENSE'))) {
  const require = requireOf('@expo-google-fonts/inter', root);
  const weights = [
    require.resolve('@expo-google-fonts/inter/400Regular/Inter_400Regular.ttf'),
    require.resolve('@expo-google-fonts/inter/600SemiBold/Inter_600SemiBold.ttf'),
  ];
  mkdirSync(join(root, 'dist', 'fonts'), { recursive: true });
  for (const path of weights) copyFileSync(path, join(root, 'dist', 'fonts', basename(path)));
  copyFileSync(require.resolve('@expo-google-fonts/inter/LICENSE_FONT'), join(root, 'dist', 'fonts', 'LICENSE'));
}
if (isNew || !existsSync(join(root, 'dist', 'bpeRanks', 'LICENSE'))) {
  const require = requireOf('gpt-tokenizer', root);
  const ranks = join(root, 'dist', 'bpeRanks');
  mkdirSync(ranks, { recursive: true });
  for (const name of ['r50k_base', 'cl100k_base', 'o200k_base'])
    writeFileSync(join(ranks, `${name}.json`), JSON.stringify(require(`gpt-tokenizer/bpeRanks/${name}`).default));
  const folder = dirname(require.resolve('gpt-tokenizer/package.json'));
  copyFileSync(join(folder, 'LICENSE'), join(ranks, 'LICENSE'));
}

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
