/** What `launch` loads before it knows which command it runs: very little, so that help, versions and mistakes are quick. */
import { readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { parseSync } from 'oxc-parser';
import { expect, it } from 'vitest';
import { instructionSets, isInstructionSet } from '../../../src/base/instructionSets.ts';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import { versionLine } from '../../../src/cli/versionLine.ts';
import { selectEngine, unitsOf } from '../../../src/engine/registry.ts';

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

it('launch --version alone loads only what its line is made of', () => {
  expect([...loadedBy('src/cli/main.ts')]).toEqual(['src/cli/main.ts']);
  expect([...loadedBy('src/cli/versionLine.ts')].sort()).toEqual([
    'src/base/commit.ts',
    'src/base/instructionSets.ts',
    'src/base/packageRoot.ts',
    'src/base/version.ts',
    'src/cli/versionLine.ts',
    'src/engine/native/addon.ts',
    'src/engine/nativeName.ts',
    'src/engine/webgpu/drivers.ts',
  ]);
});

it('what launch loads before it reads the command line includes no package', () => {
  expect([...loadedBy('src/cli/program.ts')].filter((name) => !name.startsWith('src/'))).toEqual([]);
});

it('the line of launch --version names the engine that is chosen by default', async () => {
  const { name, deviceKind } = await selectEngine({ name: 'auto' });
  const [unit = deviceKind] = unitsOf(name);
  const label = isInstructionSet(unit) ? instructionSets[unit].label : unit;
  expect(await versionLine()).toMatch(new RegExp(`, engine ${name} ${label}$`));
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
  'launch %s loads no package for formats of data that it may not read',
  (command) => {
    const packages = [...loadedBy(`src/cli/${command}.ts`)].filter((name) => !name.startsWith('src/'));
    expect(packages.filter((name) => /hyparquet|hysnappy|csv-parse|fzstd|xxhash|tfjs/.test(name))).toEqual([]);
  },
);
