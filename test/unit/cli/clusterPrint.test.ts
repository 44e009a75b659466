import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import yargs from 'yargs';
import { setProgram } from '../../../src/base/ownCommand.ts';
import { checkConfigToPrint, optionWords, type PrintArguments, scriptOf } from '../../../src/cli/clusterPrint.ts';
import { trainOptions } from '../../../src/cli/trainOptions.ts';

setProgram('launch');

const args: PrintArguments = {
  print: 'job',
  nodes: 4,
  runDir: 'runs/gpt-small',
  image: 'lockstep',
  cpus: undefined,
  memory: undefined,
  storage: '10Gi',
};

it('options become words that parse to the same options', async () => {
  const parse = (words: readonly string[]) =>
    yargs([...words])
      .options(trainOptions)
      .parseAsync();
  const typed = ['--config=-x.yaml', '--set', 'a=1', 'b=--c', '--set', 'd=', '--dashboard', '--no-encrypt', '--plain'];
  const parsed = await parse([...typed, '--max-restarts', '3']);
  const words = optionWords(trainOptions, parsed);
  expect(words).toEqual([
    ...['--config=-x.yaml', '--max-restarts=3', '--set=a=1', '--set=b=--c', '--set=d=', '--no-encrypt'],
    ...['--dashboard', '--plain'],
  ]);
  expect({ ...(await parse(words)), $0: '' }).toEqual({ ...parsed, $0: '' });
});

it.each([
  [{ nodes: undefined }, 'add --nodes N'],
  [{ memory: '16G' }, '--memory: expected a size such as 16Gi'],
  [{ runDir: '/scratch/a' }, 'give a relative path'],
  [{ runDir: '../a' }, 'give a relative path'],
  [{ image: 'a b' }, 'expected the name of an image'],
  [{ cpus: 0.5 }, '--cpus'],
])('refuses %j', (change, problem) => expect(() => scriptOf({ ...args, ...change }, [])).toThrow(problem));

it('run directories of containers are in their volume; others may be anywhere', () => {
  expect(scriptOf({ ...args, runDir: '/data/runs/B_1/' }, [])).toContain('- --run-dir=runs/B_1');
  expect(scriptOf({ ...args, runDir: '/data/runs/B_1' }, [])).toContain('name: b-1\n');
  expect(scriptOf({ ...args, print: 'slurm', runDir: '/scratch/a' }, [])).toContain('--run-dir=/scratch/a');
});

it('checks the config as the run does, also that of a run to continue; not a file that only the volume has', async () => {
  const cwd = await mkdtemp(join(tmpdir(), 'lockstep-print-'));
  const check = (more: object) =>
    checkConfigToPrint({ ...args, print: 'slurm', runDir: 'runs/a', workers: 1, resume: 'auto', ...more }, cwd);
  check({ config: 'gpt-small' });
  expect(() => check({ set: ['training.steps=3'] })).toThrow(/training/);
  expect(() => check({ set: ['train.maxSteps=many'] })).toThrow(/train\.maxSteps/);
  expect(() => check({ config: 'gpt-smal' })).toThrow(/gpt-smal/);
  expect(() => check({ config: 'mine.yaml' })).toThrow(/mine\.yaml/);
  expect(() => check({ set: ['train.workers=2'] })).toThrow(/--workers/);
  expect(() => check({ workers: 100_000 })).toThrow(/globalBatchSize/);
  check({ config: 'mine.yaml', print: 'job' });
  await writeFile(join(cwd, 'mine.yaml'), 'train:\n  maxStep: 5\n');
  for (const print of ['slurm', 'job']) expect(() => check({ config: 'mine.yaml', print })).toThrow(/maxStep/);
  await writeFile(join(cwd, 'config.yaml'), 'model:\n  nLayer: 2\n');
  expect(() => check({ runDir: '.' })).toThrow(/config\.yaml is incomplete/);
  check({ runDir: '.', resume: 'never' });
  await rm(cwd, { recursive: true });
});
