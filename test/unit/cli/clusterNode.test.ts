/** What node 0 leaves alone in the run directory of another job. */
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { coordinate, type JobNode } from '../../../src/cli/clusterNode.ts';
import { quietOutput, setOutput } from '../../../src/cli/output.ts';
import type { TrainArguments } from '../../../src/cli/trainOptions.ts';
import { writeAgain } from '../../../src/cluster/again.ts';
import { CoordinatorFileReader, writeCoordinatorFile } from '../../../src/cluster/coordinatorFile.ts';
import { RunFolder } from '../../../src/run/runFolder.ts';

let path = '';
let before = quietOutput;
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'lockstep-cluster-node-'));
  await writeFile(join(path, 'text.txt'), 'to be or not to be '.repeat(200));
  before = setOutput(quietOutput);
});
afterEach(async () => {
  setOutput(before);
  await rm(path, { recursive: true });
});

const tiny = [
  'engine.name=native',
  'engine.threads=1',
  'model.nLayer=1',
  'model.nHead=1',
  'model.nEmbd=8',
  'model.blockSize=8',
  'train.globalBatchSize=2',
  'train.microBatchSize=1',
  'sample.maxTokens=0',
];

function node(): JobNode {
  return {
    placement: {
      ...{ source: 'mpi', nodeRank: 0, nodeCount: 2, jobId: undefined, localCpus: undefined },
      coordinator: { host: '127.0.0.1', port: 0 },
    },
    ...{ folder: new RunFolder(path), workers: 1, startWorkers: 2, cores: 1, waitSeconds: 1, maxRestarts: 0 },
    ring: {},
  };
}

const start = (set: readonly string[], more: Partial<TrainArguments> = {}) =>
  coordinate(
    {
      ...{
        runDir: path,
        workers: 1,
        minWorkers: 1,
        maxRestarts: 0,
        set: [`data.text=${join(path, 'text.txt')}`, ...set],
      },
      ...{ encrypt: true, singleProcess: false, dryRun: false, quiet: true, ...more },
    } as unknown as TrainArguments,
    'auto',
    node(),
  );

it('is refused by the job that trains there, whose files stay as they are', async () => {
  const running = new RunFolder(path, { isNew: true });
  await running.claim(() => {});
  await writeAgain(path);
  await writeCoordinatorFile(path, undefined, { kind: 'listening', address: 'tcp://10.0.0.1:4711' });
  const file = () => readFile(join(path, 'coordinator.json'), 'utf8');
  const written = await file();
  await expect(start(tiny)).rejects.toThrow(/this process is training in/);
  expect(await file()).toBe(written);
  expect(existsSync(join(path, 'again'))).toBe(true);
  // So does one that fails before it asks for the directory.
  await expect(start(['model.nLayer=none'])).rejects.toThrow(/model.nLayer/);
  expect(await file()).toBe(written);
  await running.release();
});

it('names the options that a run which continues does not use', async () => {
  const warnings: string[] = [];
  setOutput({ ...quietOutput, warn: (line) => void warnings.push(line) });
  await writeFile(join(path, 'config.yaml'), '');
  await expect(start([], { config: 'gpt-small', initFrom: 'runs/other' })).rejects.toThrow(/config.yaml/);
  expect(warnings.join()).toMatch(/holds a run, .* Not used: --config gpt-small, --init-from runs\/other/);
});

it('tells the others of a failure before it has claimed the directory, if nobody else has', async () => {
  await writeAgain(path);
  const reader = new CoordinatorFileReader(path, undefined);
  expect(await reader.read()).toBeUndefined();
  await expect(start(['model.nLayer=none'])).rejects.toThrow(/model.nLayer/);
  expect((await reader.read())?.state).toMatchObject({
    kind: 'failed',
    message: expect.stringContaining('model.nLayer'),
  });
  expect(existsSync(join(path, 'again'))).toBe(false);
  expect(await new RunFolder(path).isInUse()).toBe(false);
});
