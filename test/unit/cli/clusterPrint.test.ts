import { expect, it } from 'vitest';
import yargs from 'yargs';
import { optionWords, type PrintArguments, scriptOf } from '../../../src/cli/clusterPrint.ts';
import { trainOptions } from '../../../src/cli/trainOptions.ts';

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
