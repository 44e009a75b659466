import { expect, it } from 'vitest';
import { stateChunkBytes } from '../../../src/comm/protocol.ts';
import type { StateStore, StoredState } from '../../../src/coordinator/checkpointer.ts';
import { StateTransfers } from '../../../src/coordinator/stateTransfers.ts';

/** Let go of, or read to the end. */
let closed = 0;

/** A checkpoint of step 3 with more chunks than may be under way. */
const checkpoint = {
  trainer: { step: 3 },
  async *stream() {
    try {
      for (let i = 0; i < 20; i++) yield new Uint8Array(stateChunkBytes);
    } finally {
      closed++;
    }
  },
} as unknown as StoredState;

function transfers(newestWhole: StateStore['newestWhole'] = async () => ({ checkpoint })) {
  const sent: string[] = [];
  const errors: unknown[] = [];
  const transfer = new StateTransfers({
    store: { newestWhole } as StateStore,
    resume: undefined,
    forward: (to, { term }) => sent.push(`${to}@${term}`),
    acknowledge: (from, { offset }) => sent.push(`${from} may continue from ${offset}`),
    onError: (error) => errors.push(error),
  });
  return { transfer, sent, errors };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

it('lets go of the checkpoint when a receiver is lost, and another transfer begins', async () => {
  closed = 0;
  const { transfer, sent } = transfers();
  for (let term = 1; term <= 20; term++) {
    transfer.begin({ kind: 'transfer', first: `w${term}`, passes: [], term, step: 3, tensors: [] });
    await turn();
    await turn();
  }
  expect(new Set(sent).size).toBe(20);
  transfer.begin({
    kind: 'transfer',
    first: undefined,
    passes: [{ from: 'w0', to: 'w1' }],
    term: 21,
    step: 3,
    tensors: [],
  });
  await turn();
  await turn();
  expect(closed).toBe(20);
});

it('a checkpoint that is found too late is not sent', async () => {
  const found: (() => void)[] = [];
  const { transfer, sent, errors } = transfers(
    () => new Promise((resolve) => void found.push(() => resolve({ checkpoint }))),
  );
  transfer.begin({ kind: 'transfer', first: 'w1', passes: [], term: 1, step: 3, tensors: [] });
  transfer.begin({ kind: 'transfer', first: 'w1', passes: [], term: 2, step: 3, tensors: [] });
  for (const resolve of found.reverse()) {
    resolve();
    await turn();
    await turn();
  }
  expect(new Set(sent)).toEqual(new Set(['w1@2']));
  transfer.stop();
  expect(errors).toEqual([]);
});

it('sends a checkpoint to the first worker alone, and tells each sender what the next one has', async () => {
  const { transfer, sent } = transfers();
  const passes = [
    { from: 'w1', to: 'w2' },
    { from: 'w2', to: 'w3' },
  ];
  transfer.begin({ kind: 'transfer', first: 'w1', passes, term: 1, step: 3, tensors: [] });
  await turn();
  await turn();
  expect(sent).toEqual(new Array(4).fill('w1@1'));
  sent.length = 0;
  transfer.acknowledged('w1', { term: 1, step: 3, offset: stateChunkBytes });
  await turn();
  expect(sent).toEqual(['w1@1']);
  for (const by of ['w2', 'w3', 'w4']) transfer.acknowledged(by, { term: 1, step: 3, offset: 7 });
  transfer.acknowledged('w3', { term: 2, step: 3, offset: 9 });
  expect(sent).toEqual(['w1@1', 'w1 may continue from 7', 'w2 may continue from 7']);
  transfer.stop();
});
