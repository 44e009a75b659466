import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';

const inter = '@expo-google-fonts/inter';
const ranks = ['r50k_base', 'cl100k_base', 'o200k_base'];

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lockstep-finish-'));
  for (const name of ['finish-build.mjs', 'buildTools.mjs'])
    cpSync(join(packageRoot, 'scripts', name), join(root, 'scripts', name));
  for (const folder of ['web', 'dashboard/page', 'serve/page'])
    mkdirSync(join(root, 'dist', folder), { recursive: true });
  for (const page of ['dashboard/page', 'serve/page'])
    for (const name of ['index.html', 'page.css']) write(`src/${page}/${name}`, '');
  write('src/web/base.css', '');
});
afterEach(() => rmSync(root, { recursive: true }));

function write(name: string, text: string): void {
  const file = join(root, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

/** The packages whose parts are copied, of one version. */
function install(version: string): void {
  for (const name of ['400Regular/Inter_400Regular.ttf', '600SemiBold/Inter_600SemiBold.ttf', 'LICENSE_FONT'])
    write(`node_modules/${inter}/${name}`, version);
  for (const name of ranks)
    write(`node_modules/gpt-tokenizer/bpeRanks/${name}.js`, `exports.default = ${JSON.stringify([version])};`);
  write('node_modules/gpt-tokenizer/package.json', '{}');
  write('node_modules/gpt-tokenizer/LICENSE', version);
}

function finish(): string[] {
  expect(spawnSync(process.execPath, [join(root, 'scripts', 'finish-build.mjs')]).status).toBe(0);
  const names = ['fonts/Inter_400Regular.ttf', 'fonts/Inter_600SemiBold.ttf', 'fonts/LICENSE', 'bpeRanks/LICENSE'];
  const copies = [...names, ...ranks.map((name) => `bpeRanks/${name}.json`)];
  return copies.map((name) => readFileSync(join(root, 'dist', name), 'utf8').replace(/[[\]"]/g, ''));
}

it('copies parts of packages again for each new build, and only then', () => {
  install('1');
  expect(new Set(finish())).toEqual(new Set(['1']));
  install('2');
  expect(new Set(finish())).toEqual(new Set(['2']));
  // As for a build that is current.
  write('dist/build.stamp', 'a hash');
  install('3');
  expect(new Set(finish())).toEqual(new Set(['2']));
});
