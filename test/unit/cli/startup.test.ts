/** What `launch` loads before it knows which command it runs: next to nothing, so that help, versions and mistakes are quick. */
import { readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { parseSync } from 'oxc-parser';
import { expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';

/** Modules of the project and of packages that importing `path` loads, without what is imported when it is used. */
function loadedBy(path: string, found = new Set<string>()): Set<string> {
  if (found.has(path)) return found;
  found.add(path);
  const { module } = parseSync(path, readFileSync(join(packageRoot, path), 'utf8'));
  for (const { moduleRequest, entries } of module.staticImports) {
    if (entries.length > 0 && entries.every(({ isType }) => isType)) continue;
    if (moduleRequest.value.startsWith('.')) loadedBy(posix.join(posix.dirname(path), moduleRequest.value), found);
    else if (!moduleRequest.value.startsWith('node:')) found.add(moduleRequest.value);
  }
  return found;
}

it('launch --version loads no package', () => {
  expect([...loadedBy('src/cli/main.ts')].filter((name) => !name.startsWith('src/'))).toEqual([]);
});

const parser = [...loadedBy('src/cli/commandLine.ts')];

it('the help of launch loads the parser and no other package', () => {
  expect(parser.filter((name) => !name.startsWith('src/'))).toEqual(['yargs']);
});

it('the help of launch loads no command but the options of the usual one', () => {
  const folders = [
    'run',
    'coordinator',
    'worker',
    'model',
    'data',
    'checkpoint',
    'comm',
    'config',
    'report',
    'dashboard',
  ];
  const heavy = parser.filter((name) => folders.some((folder) => name.startsWith(`src/${folder}/`)));
  expect(heavy).toEqual([]);
});

it.each(['train', 'prepare', 'generate', 'join'])(
  'launch %s compiles no WebAssembly that it may not need',
  (command) => {
    const packages = [...loadedBy(`src/cli/${command}.ts`)].filter((name) => !name.startsWith('src/'));
    expect(packages.filter((name) => /hyparquet-compressors|hysnappy|tfjs/.test(name))).toEqual([]);
  },
);
