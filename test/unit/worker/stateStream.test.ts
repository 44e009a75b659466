import { describe, expect, it } from 'vitest';
import { stateChunkBytes, stateChunksInFlight, type WorkerMessage } from '../../../src/comm/protocol.ts';
import { StateReceiver, StateSender } from '../../../src/worker/stateStream.ts';

/** 9 MiB of state in all: three chunks of parameters, m and v. */
const sizes = [3 << 18, 7];

describe('a state stream', () => {
  it('arrives whole, with a bounded number of chunks under way', () => {
    const sent: { offset: number; payload: Uint8Array }[] = [];
    const sender = new StateSender((message: WorkerMessage, payload) => {
      if (message.type === 'stateChunk' && payload !== undefined) sent.push({ offset: message.offset, payload });
    });
    const state = sender.buffer(sizes);
    for (const i of state.keys()) state[i] = i;
    sender.start(5);
    const acknowledged: number[] = [];
    const receiver = new StateReceiver(sizes, (offset) => acknowledged.push(offset));
    let underWayMax = 0;
    while (!receiver.isComplete) {
      underWayMax = Math.max(underWayMax, sent.length);
      const { offset, payload } = sent.shift()!;
      receiver.add(offset, payload);
      sender.acknowledged(5, acknowledged.at(-1)!);
    }
    expect(sent).toEqual([]);
    expect(underWayMax).toBeLessThanOrEqual(stateChunksInFlight);
    expect(state.byteLength).toBeGreaterThan(stateChunkBytes * 2);
    expect(Buffer.from(receiver.state.buffer).equals(Buffer.from(state.buffer))).toBe(true);
  });

  it('ignores acknowledgements of another step', () => {
    let chunks = 0;
    const sender = new StateSender(() => chunks++);
    sender.buffer([8 << 20]);
    sender.start(2);
    sender.acknowledged(1, stateChunkBytes);
    expect(chunks).toBe(stateChunksInFlight);
  });

  it.each([
    ['out of order', 4, 4],
    ['beyond the end', 0, 1_000],
    ['empty', 0, 0],
  ])('refuses a chunk that is %s', (_, offset, size) => {
    const receiver = new StateReceiver([2], () => {});
    expect(() => receiver.add(offset, new Uint8Array(size))).toThrow(/expected state from byte 0 of 24/);
  });
});
