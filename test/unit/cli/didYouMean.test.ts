import { expect, it } from 'vitest';
import { withGuess } from '../../../src/cli/didYouMean.ts';

const known = { commands: ['train', 'join', 'bench', 'eval'], options: ['workers', 'set', 'run-dir', 'resume'] };

it.each([
  ['Unknown argument: trian', ['trian'], 'train'],
  ['Unknown argument: jion', ['jion'], 'join'],
  ['Unknown argument: wrokers', ['--wrokers', '2'], '--workers'],
  ['Unknown argument: rundir', ['--rundir=x'], '--run-dir'],
  ['Unknown arguments: wrokers, rundir', ['--wrokers', '2', '--rundir=x'], '--workers, --run-dir'],
  ['Unknown argument: train', ['--train.maxSteps=5'], '--set train.maxSteps=5'],
  ['Unknown argument: maxSteps', ['--maxSteps', '5'], '--set train.maxSteps=…'],
  ['Unknown argument: sample.maxToken=0', ['--run-dir', 'x', 'sample.maxToken=0'], '--set sample.maxTokens=0'],
])('%s of %o: %s', (message, typed, guess) => {
  expect(withGuess(message, typed, known)).toBe(`${message}. Did you mean ${guess}?`);
});

it.each([
  ['Unknown argument: xyzzy', ['--xyzzy']],
  ['Unknown argument: (', ['--(']],
  ['Not enough arguments following: set', ['--set']],
])('guesses nothing of %s', (message, typed) => {
  expect(withGuess(message, typed, known)).toBe(message);
});

it.each([
  ['Unknown arguments: num-samples, numSamples', ['--num-samples', '3'], 'Unknown argument: num-samples'],
  ['Unknown arguments: a-b, c, aB', ['--a-b', '--c'], 'Unknown arguments: a-b, c'],
])('says once what was typed once: %s', (message, typed, said) => {
  expect(withGuess(message, typed, { commands: [], options: [] })).toBe(said);
});
