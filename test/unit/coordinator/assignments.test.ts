/** When the memory of a batch may be used again. */
import { expect, it, onTestFinished, vi } from 'vitest';
import type { WeighedBatch } from '../../../src/base/batch.ts';
import { WindowBatch } from '../../../src/base/windowBatch.ts';
import { HostServer } from '../../../src/comm/hostServer.ts';
import type { ControlServer } from '../../../src/comm/link.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { Assignments } from '../../../src/coordinator/assignments.ts';
import type { Effect } from '../../../src/coordinator/core/effects.ts';
import { TrainBatches } from '../../../src/data/trainBatches.ts';
import { runInMemory } from '../../engines/runInMemory.ts';
import { testEngines } from '../../engines/testEngines.ts';

const silent: ControlServer = {
  address: 'memory://silent',
  dropped: 0,
  send: () => {},
  onMessage: () => {},
  onPeerGone: () => {},
  close: async () => {},
};

function begun() {
  const released: number[] = [];
  const sent: string[] = [];
  const assignments = new Assignments({
    training: {
      sampleLimit: Number.POSITIVE_INFINITY,
      tokensIn: (samples) => samples,
      batch: (step): WeighedBatch => new WindowBatch(['tokens', 'targets'], new Uint16Array(6).fill(step), 2, 4),
      release: (step) => void released.push(step + 1),
    },
    server: new HostServer(silent),
    recorder: undefined,
    isTraced: () => false,
    send: (to, { step }, payload) =>
      void sent.push(`${to} ${step}: ${new Uint16Array(Uint8Array.from(payload).buffer)[0]}`),
  });
  const assign = (step: number, term: number) => {
    const effects = ['a', 'b'].map(
      (to, sampleFrom): Effect => ({ kind: 'assign', to, term, step, sampleFrom, sampleCount: 1 }),
    );
    for (const [i, effect] of effects.entries()) if (effect.kind === 'assign') assignments.carryOut(effect, effects, i);
  };
  return { assignments, assign, released, sent };
}

it('a batch is released when its step is committed', () => {
  const { assignments, assign, released, sent } = begun();
  for (const step of [1, 2]) assign(step, 1);
  assignments.committed(1, 1);
  expect(released).toEqual([1]);
  assign(3, 1);
  expect(sent).toEqual(['a 1: 0', 'b 1: 0', 'a 2: 1', 'b 2: 1', 'a 3: 2', 'b 3: 2']);
});

it('a batch that several terms have assigned is not released, since messages of an earlier term may still wait', () => {
  const { assignments, assign, released } = begun();
  for (const step of [1, 2]) assign(step, 1);
  assignments.committed(1, 1);
  for (const step of [2, 3]) assign(step, 2);
  assign(2, 3);
  assignments.committed(2, 3);
  expect(released).toEqual([1]);
  // Only an earlier term has assigned it.
  assignments.committed(3, 3);
  expect(released).toEqual([1]);
  assign(4, 3);
  assignments.committed(4, 3);
  expect(released).toEqual([1, 4]);
});

it('after a rewind a step counts as new', () => {
  const { assignments, assign, released } = begun();
  assign(1, 1);
  assignments.committed(1, 1);
  assign(1, 2);
  assignments.committed(1, 2);
  expect(released).toEqual([1, 1]);
});

it('a coordinator releases the batch of each step that it commits', async () => {
  const released = vi.spyOn(TrainBatches.prototype, 'release');
  onTestFinished(() => released.mockRestore());
  const config = configSchema.parse({
    model: { blockSize: 16, nLayer: 1, nHead: 2, nEmbd: 16 },
    train: { globalBatchSize: 4, microBatchSize: 2, maxSteps: 3, workers: 1 },
    eval: { everySteps: 0 },
    checkpoint: { everySteps: 0 },
    sample: { maxTokens: 0 },
    engine: { name: 'native', threads: 1 },
  });
  await runInMemory(config, { native: testEngines.native });
  expect(released.mock.calls).toEqual([[0], [1], [2]]);
});
