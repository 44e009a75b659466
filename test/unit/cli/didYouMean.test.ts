import { expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { runCommandLine } from '../../../src/cli/commandLine.ts';
import { withGuess } from '../../../src/cli/didYouMean.ts';

const known = {
  commands: ['train', 'finetune', 'join', 'bench', 'eval'],
  options: ['workers', 'set', 'run-dir', 'resume'],
};

it.each([
  ['Unknown argument: trian', ['trian'], 'unknown command trian', 'train'],
  ['Unknown argument: jion', ['jion'], 'unknown command jion', 'join'],
  ['Unknown argument: wrokers', ['--wrokers', '2'], 'unknown option --wrokers', '--workers'],
  ['Unknown argument: rundir', ['--rundir=x'], 'unknown option --rundir', '--run-dir'],
  [
    'Unknown arguments: wrokers, rundir',
    ['--wrokers', '2', '--rundir=x'],
    'unknown option --wrokers, unknown option --rundir',
    '--workers, --run-dir',
  ],
  ['Unknown argument: train', ['--train.maxSteps=5'], 'unknown option --train.maxSteps', '--set train.maxSteps=5'],
  ['Unknown argument: maxSteps', ['--maxSteps', '5'], 'unknown option --maxSteps', '--set train.maxSteps=…'],
  [
    'Unknown argument: sample.maxToken=0',
    ['--run-dir', 'x', 'sample.maxToken=0'],
    'unexpected argument sample.maxToken=0',
    '--set sample.maxTokens=0',
  ],
  [
    'Unknown arguments: fine-tune, runs/base, rows.jsonl',
    ['fine-tune', 'runs/base', 'rows.jsonl'],
    'unknown command fine-tune',
    'finetune',
  ],
])('%s of %o: %s, %s', (message, typed, said, guess) => {
  expect(withGuess(message, typed, known)).toBe(`${said}. Did you mean ${guess}?`);
});

it.each([
  ['Unknown argument: xyzzy', ['--xyzzy'], 'unknown option --xyzzy'],
  ['Unknown argument: (', ['--('], 'unknown option --('],
])('guesses nothing of %s', (message, typed, said) => {
  expect(withGuess(message, typed, known)).toBe(said);
});

it.each([
  ['Unknown arguments: num-samples, numSamples', ['--num-samples', '3'], 'unknown option --num-samples'],
  ['Unknown arguments: a-b, c, aB', ['--a-b', '--c'], 'unknown option --a-b, unknown option --c'],
])('says once what was typed once: %s', (message, typed, said) => {
  expect(withGuess(message, typed, { commands: [], options: [] })).toBe(said);
});

/** Each complaint that yargs has for the commands as they are: its own words reach nobody. */
it.each([
  [['--set'], '--set: expected a value after it'],
  [['prepare', 'a.txt'], 'expected --tokenizer, --out'],
  [['generate', '--prompt', 'a', '--prompt-file', 'b'], '--prompt-file and --prompt exclude each other: leave one out'],
  [['generate', '--engine', 'abacus'], '--engine: expected one of auto, webgpu, native, tfjs, received "abacus"'],
  [['runs', 'remove'], 'action: expected one of list, rm, name, received "remove"'],
  [['--debug', 'join'], 'missing argument'],
  [['join'], 'missing argument. Usage: launch join <address>'],
  [['generate', 'now'], 'unexpected argument now'],
])('%j: %s', async (typed, said) => {
  const error = await runCommandLine(typed, '0').catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(UserError);
  expect((error as Error).message.replace(/launch|npx \S+/, 'launch')).toContain(said);
  expect((error as Error).message).not.toMatch(/non-option|Invalid values|Unknown arg|Not enough|Missing req|mutually/);
});
