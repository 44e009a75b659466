/** Runs that cannot continue, because another process has taken their directory or a callback failed, with the real coordinator, agents and ring. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { configSchema } from '../../../src/config/schema.ts';
import { runInMemory } from '../../engines/runInMemory.ts';
import { testEngines } from '../../engines/testEngines.ts';

const config = configSchema.parse({
  model: { blockSize: 16, nLayer: 1, nHead: 2, nEmbd: 16 },
  train: { globalBatchSize: 8, microBatchSize: 2, maxSteps: 100_000, workers: 2 },
  eval: { everySteps: 2 },
  checkpoint: { everySteps: 1 },
  sample: { maxTokens: 0 },
  engine: { name: 'native', threads: 1 },
});

it('ends at once: its workers stop, and nothing more is written', async () => {
  const before = new Set<string>();
  const after: string[] = [];
  let isTaken = false;
  const ended = runInMemory(
    config,
    { native: testEngines.native },
    {
      onWrite: (what) => void (isTaken ? after.push(what) : before.add(what)),
      onStep: (step, coordinator) => {
        if (step !== 3) return;
        // Not in the middle of what the coordinator does.
        setImmediate(() => {
          isTaken = true;
          coordinator.abandon(new Error('another process has taken the directory'));
          // Neither is what anybody asks of it then.
          coordinator.note('too late');
          coordinator.requestStop('SIGINT');
        });
      },
    },
  );
  // Comes when the workers have ended, which without a word from the coordinator train to the last step.
  await expect(ended).rejects.toThrow('another process has taken the directory');
  expect([...before].sort()).toEqual(['checkpoint', 'events', 'journal', 'metrics']);
  expect(after).toEqual([]);
}, 60_000);

it('that fails on a system call records which file it concerned', async () => {
  const reasons: string[] = [];
  const ended = runInMemory(
    config,
    { native: testEngines.native },
    {
      onStep: () => readFileSync('/nowhere/a'),
      onEvent: ({ event, reason }) => void (event === 'failed' && reasons.push(reason)),
    },
  );
  await expect(ended).rejects.toThrow('ENOENT');
  expect(reasons).toEqual(['cannot open /nowhere/a: there is no such file or folder (ENOENT)']);
}, 60_000);
