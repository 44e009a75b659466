/** Messages name only options that exist, and code that programs call names none: they have `optionName` and `settingText`. */
import { readFileSync } from 'node:fs';
import { globSync } from 'tinyglobby';
import { beforeAll, expect, it } from 'vitest';
import { benches } from '../../../src/cli/bench.ts';
import { namesOf } from '../../../src/cli/commandEntry.ts';
import { commandLine, commands } from '../../../src/cli/commandLine.ts';

/** Folders that no program calls, or whose options are those of other programs, such as Slurm. */
const notForPrograms = /^src\/(cli|bench|cluster|dashboard|report|comm|objectStore|engine)\//;
/** What only a command does, and the documentation of the config. */
const ofCommands =
  /^src\/(config\/(describe|groups)|data\/prepare\/|run\/(exportModel|runKeyFiles|rowsToEvaluate)\.ts$)/;
/** Options of npm and other programs, and of `launch prepare`, which a message names with its command. */
const ofPrograms = new Set(
  ...[
    [
      'no-save',
      'save',
      'save-dev',
      'get-yargs-completions',
      'omit',
      'include',
      'foreground-scripts',
      'always',
      'exclude',
      'dirty',
      'recursive',
      'gpus',
      'device',
      'summary',
    ],
  ],
);
const ofPrepare = new Set([
  'tokenizer',
  'val-fraction',
  'val-documents',
  'field',
  'format',
  'out',
  'checkpoint',
  'columns',
  'targets',
]);

const files = globSync('src/**/*.ts', {
  ignore: ['src/**/page/**', 'src/report/page.ts', 'src/cluster/scripts/**'],
}).sort();

/** Each option that a line of code names in a text, without comments and commands. */
function namedIn(file: string): string[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => !/^\s*(\/\/|\*|\/\*)|ownCommand\('/.test(line))
    .flatMap((line) =>
      [...line.matchAll(/(?<=[\s('"`(])--([a-z][a-z-]+)(?=[\s'"`:,.)=]|$)(?!\.#)/g)].map(([, name]) => name!),
    );
}

let options: Set<string>;
beforeAll(async () => {
  const typed = [
    ...commands.map((entry) => namesOf(entry).slice(0, 1)),
    ...benches.map((entry) => ['bench', ...namesOf(entry)]),
  ];
  const helps = await Promise.all(typed.map(async (words) => (await commandLine(words, '')).getHelp()));
  options = new Set(helps.flatMap((help) => [...help.matchAll(/--(?:no-)?([a-z][a-z-]+)/g)].map(([, name]) => name!)));
});

it('every option that a message names is one of a command', () => {
  const unknown = files
    .filter((file) => !/^src\/(cluster|engine|comm|report)\//.test(file))
    .flatMap((file) => namedIn(file).map((name) => [file, name.replace(/^no-/, '')] as const))
    .filter(([, name]) => !options.has(name) && !ofPrograms.has(name));
  expect(unknown).toEqual([]);
});

it('every name given to optionName is one of a command', () => {
  const names = files.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/optionName\('(?:no-)?([a-z-]+)'\)/g)].map(([, name]) => name!),
  );
  expect(names.length).toBeGreaterThan(10);
  expect(names.filter((name) => !options.has(name))).toEqual([]);
});

it('code that programs call leaves the names of settings to optionName and settingText', () => {
  const literal = files
    .filter((file) => !notForPrograms.test(file) && !ofCommands.test(file) && file !== 'src/base/ownCommand.ts')
    .flatMap((file) => namedIn(file).map((name) => `${file}: --${name}`))
    .filter((text) => !ofPrograms.has(text.split('--')[1]!) && !ofPrepare.has(text.split('--')[1]!));
  expect(literal).toEqual([]);
});
