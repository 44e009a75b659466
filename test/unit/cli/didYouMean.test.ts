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
  ['Unknown argument: gpu', ['--gpu'], 'unknown option --gpu', '--set engine.name=webgpu'],
  ['Unknown argument: engine', ['--engine=webgpu'], 'unknown option --engine', '--set engine.name=webgpu'],
  ['Unknown argument: device', ['--device', 'cuda:0'], 'unknown option --device', '--set engine.name=webgpu'],
  ['Unknown argument: data', ['--data', 'my text.txt'], 'unknown option --data', "--set 'data.text=my text.txt'"],
  ['Unknown argument: text', ['--text', 'a.txt', '-w', '2'], 'unknown option --text', '--set data.text=a.txt'],
  ['Unknown argument: steps', ['--steps=5'], 'unknown option --steps', '--set train.maxSteps=5'],
  ['Unknown argument: lr', ['--lr', '-w'], 'unknown option --lr', '--set schedule.learningRate=…'],
  [
    'Unknown arguments: learning-rate, learningRate',
    ['--learning-rate', '1e-3'],
    'unknown option --learning-rate',
    '--set schedule.learningRate=1e-3',
  ],
  ['Unknown argument: maxSteps', ['--maxSteps', '5'], 'unknown option --maxSteps', '--set train.maxSteps=5'],
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

it('guesses nothing that was typed', async () => {
  await expect(runCommandLine(['eval', 'chat', 'chat'], '0')).rejects.toThrow(/unexpected argument chat\n/);
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
  [['inspect', 'a', 'now'], 'unexpected argument now'],
  [['generate', 'The', 'run'], "unexpected argument run. Did you mean --prompt 'The run'?"],
  [['generate', 'a', 'b', 'c'], "unexpected argument b, unexpected argument c. Did you mean --prompt 'a b c'?"],
  [['generate', 'runs/x', 'Once upon'], "unexpected argument Once upon. Did you mean --prompt 'Once upon'?"],
  [['generate', '--max-tokens', '5', 'runs/x', 'Once'], 'Did you mean --prompt Once?'],
  [['generate', '--max-tokens', '5', 'hello', 'world'], "Did you mean --prompt 'hello world'?"],
  [['generate', 'package.json'], 'To use this file, run launch generate --prompt-file package.json'],
  [['generate', 'now'], 'folder now not found. If it is a text to continue, use launch generate --prompt now'],
  [['generate', 'now', '--checkpoint', 'then'], '--checkpoint and the argument now name two checkpoints: give one'],
  [['eval', 'package.json'], 'To use this file, run launch eval --data package.json'],
  [['eval', 'runs/none', '--data', 'a'], 'folder runs/none not found'],
  [['eval', 'package.json', '--data', 'a'], 'package.json is a file, but a checkpoint or a run is a folder'],
  [['chat', 'package.json'], 'package.json is a file, but a checkpoint or a run is a folder'],
  [['generate', '--', 'chat', '--max-tokens', '3'], '--: commands take no arguments after it: omit it'],
  [['plot', '--', '-dash x'], "A path that starts with a dash is typed as './-dash x'"],
  [['generate', '-dash'], 'unknown option -dash. A path that starts with a dash is typed as ./-dash'],
  [['generate', '-prompt', 'Once'], 'unknown option -prompt. Did you mean --prompt?'],
  [['-workers', '2'], 'unknown option -workers. Did you mean --workers?'],
  [['-lr', '1e-3'], 'unknown option -lr. Did you mean --set schedule.learningRate=1e-3?'],
  [['generate', '--run', 'runs/x'], 'unknown option --run. Did you mean --checkpoint runs/x?'],
  [['eval', '--model=runs/my run'], "unknown option --model. Did you mean --checkpoint 'runs/my run'?"],
  [['chat', 'https://a.example/b'], 'https://a.example/b: only paths on a disk and s3://BUCKET/PREFIX are read'],
  [['merge', 'S3://bucket/x', '--out', 'm'], 'write s3:// in small letters'],
  [['generate', 'x', '--checkpoint='], '--checkpoint: expected a non-empty text'],
  [['generate', '--gpu'], 'unknown option --gpu. Did you mean --engine webgpu?'],
  [['generate', '--engine', 'cuda'], 'received "cuda". The engine for a GPU is webgpu.'],
  [['--engine', 'cpu'], 'unknown option --engine. Did you mean --set engine.name=native?'],
  [['--set', 'engine.name=gpu'], 'received "gpu". The engine for a GPU is webgpu.'],
  [['package.json'], 'unknown command package.json. Did you mean --set data.text=package.json?'],
  [
    ['train', '-w', '2', 'package.json'],
    'unexpected argument package.json. Did you mean --set data.text=package.json?',
  ],
  [['my.yaml'], 'unknown command my.yaml. Did you mean --config my.yaml?'],
  [['resume', 'runs/x'], 'unknown command resume. Did you mean --resume runs/x?'],
])('%j: %s', async (typed, said) => {
  const error = await runCommandLine(typed, '0').catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(UserError);
  expect((error as Error).message.replace(/launch|npx \S+/, 'launch')).toContain(said);
  expect((error as Error).message).not.toMatch(/non-option|Invalid values|Unknown arg|Not enough|Missing req|mutually/);
});
