import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { stateChunkBytes, stateChunksInFlight } from '../../../src/comm/protocol.ts';
import { StateBytes, StateReceiver, StateSender } from '../../../src/worker/stateStream.ts';

/** Parameters, m and v of tensors of these sizes, one number after another. */
const newState = (sizes: readonly number[]) => new Float32Array(3 * sizes.reduce((sum, size) => sum + size, 0));

/** 9 MiB of state in all: three chunks of parameters, m and v. */
const sizes = [3 << 18, 7];
const offsets = [0, (3 << 18) + 16];

/** Parameters, m and v as an engine holds them, with gaps; the numbers themselves are 0, 1, … in the order of the stream. */
function blocksOf(first: number): Float32Array[] {
  let next = first;
  return Array.from({ length: 3 }, () => {
    const block = new Float32Array(new SharedArrayBuffer(4 * (offsets[1]! + 16))).fill(Number.NaN);
    for (const [i, offset] of offsets.entries()) {
      for (let j = 0; j < sizes[i]!; j++) block[offset + j] = next++;
    }
    return block;
  });
}

const bytesOf = (block: Float32Array): Buffer => Buffer.from(block.buffer);

interface Sent {
  readonly offset: number;
  readonly payload: Uint8Array;
}

function senderTo(sent: Sent[], keepBytes?: number): StateSender {
  return new StateSender(
    ({ offset }, payload) => sent.push({ offset, payload }),
    keepBytes === undefined ? {} : { keepBytes },
  );
}

/** A state that counts the bytes that are read of it. */
class CountedState extends StateBytes {
  readBytes = 0;

  override copy(from: number, size: number): Uint8Array {
    this.readBytes += size;
    return super.copy(from, size);
  }
}

/** 36 MiB: nine chunks. */
const nineChunks = [3 << 20];

function numbered(state: Float32Array): Float32Array {
  for (const i of state.keys()) state[i] = i;
  return state;
}

/** Hands one chunk after another over; `before` is told how many have been. */
async function receiveAll(
  sender: StateSender,
  sent: Sent[],
  into: StateBytes,
  before: (chunks: number) => Promise<void> | void = () => {},
): Promise<void> {
  const acknowledged: number[] = [];
  const receiver = new StateReceiver(into, (offset) => acknowledged.push(offset));
  while (!receiver.isComplete) {
    await before(acknowledged.length);
    const { offset, payload } = sent.shift()!;
    receiver.add(offset, payload);
    sender.acknowledged({ term: 1, step: 5, offset: acknowledged.at(-1)! });
  }
  expect(sent).toEqual([]);
}

describe('a state stream', () => {
  it('arrives complete, with a bounded number of chunks under way', async () => {
    const sent: Sent[] = [];
    const sender = senderTo(sent);
    const state = numbered(newState(sizes));
    sender.start({ term: 1, step: 5 }, new StateBytes([state]));
    const received = newState(sizes);
    let underWayMax = 0;
    await receiveAll(sender, sent, new StateBytes([received]), () => {
      underWayMax = Math.max(underWayMax, sent.length);
    });
    expect(underWayMax).toBeLessThanOrEqual(stateChunksInFlight);
    expect(state.byteLength).toBeGreaterThan(stateChunkBytes * 2);
    expect(bytesOf(received).equals(bytesOf(state))).toBe(true);
  });

  it.each([0, 1, 2, 3, 6])(
    'from one engine to another is what it was when it began, changed after %i chunks',
    async (after) => {
      const sent: Sent[] = [];
      const sender = senderTo(sent, 5 << 20);
      const [from, to] = [blocksOf(0), blocksOf(-1e6)];
      // Many chunks: more than can be under way.
      const many = {
        length: from[0]!.length,
        offsets: Array(8).fill(offsets).flat(),
        sizes: Array(8).fill(sizes).flat(),
      };
      sender.start({ term: 1, step: 5 }, StateBytes.ofBlocks(from, [many, many, many]));
      await receiveAll(sender, sent, StateBytes.ofBlocks(to, [many, many, many]), async (chunks) => {
        if (chunks !== after) return;
        await sender.keep();
        for (const block of from) block.fill(-1);
        await sender.keep();
      });
      const expected = blocksOf(0);
      for (const [i, block] of to.entries()) expect(bytesOf(block).equals(bytesOf(expected[i]!))).toBe(true);
      await sender.keep(); // nothing is left to keep
    },
  );

  it('is copied aside once, however many updates come before its end', async () => {
    const sent: Sent[] = [];
    const sender = senderTo(sent);
    const numbers = numbered(newState(nineChunks));
    const state = new CountedState([numbers]);
    const received = newState(nineChunks);
    sender.start({ term: 1, step: 5 }, state);
    await receiveAll(sender, sent, new StateBytes([received]), async () => {
      await sender.keep();
      numbers.fill(-1);
    });
    expect(state.readBytes).toBe(state.byteLength);
    expect(bytesOf(received).equals(bytesOf(numbered(numbers)))).toBe(true);
  });

  it('is not copied aside if it is a copy, and is read when that is complete', async () => {
    const sender = senderTo([]);
    const state = new CountedState([newState(nineChunks)]);
    let resolve = (): void => undefined;
    const copied = new Promise<void>((done) => {
      resolve = done;
    });
    sender.start({ term: 1, step: 5 }, state, copied);
    await sender.keep();
    await new Promise(setImmediate);
    expect(state.readBytes).toBe(0);
    resolve();
    await new Promise(setImmediate);
    expect(state.readBytes).toBe(stateChunksInFlight * stateChunkBytes);
  });

  it('is not sent if nobody wants it any longer when its copy is complete', async () => {
    const sent: Sent[] = [];
    const sender = senderTo(sent);
    let resolve = (): void => undefined;
    const copied = new Promise<void>((done) => {
      resolve = done;
    });
    sender.start({ term: 1, step: 5 }, new StateBytes([newState(nineChunks)]), copied);
    sender.drop(5);
    resolve();
    await new Promise(setImmediate);
    expect(sent).toEqual([]);
  });

  it('continues when the copy of a stream before it, of the same step, has failed', async () => {
    const sent: Sent[] = [];
    const sender = senderTo(sent);
    let fail = (_: Error): void => undefined;
    const copied = new Promise<void>((_, reject) => {
      fail = reject;
    });
    sender.start({ term: 1, step: 5 }, new StateBytes([newState(nineChunks)]), copied);
    sender.start({ term: 2, step: 5 }, new StateBytes([newState(nineChunks)]));
    fail(new Error('no memory'));
    await new Promise(setImmediate);
    const before = sent.length;
    sender.acknowledged({ term: 2, step: 5, offset: stateChunkBytes });
    expect(sent).toHaveLength(before + 1);
  });

  it('sends nothing when its copy has failed', async () => {
    const sent: Sent[] = [];
    const sender = senderTo(sent);
    sender.start({ term: 1, step: 5 }, new StateBytes([newState(nineChunks)]), Promise.reject(new Error('no memory')));
    await new Promise(setImmediate);
    sender.acknowledged({ term: 1, step: 5, offset: 0 });
    expect(sent).toEqual([]);
  });

  it('does not keep to itself that its copy cannot be sent', async () => {
    const others = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection');
    try {
      const unhandled = once(process, 'unhandledRejection');
      const sender = new StateSender(() => {
        throw new Error('the link is closed');
      });
      sender.start({ term: 1, step: 5 }, new StateBytes([newState(nineChunks)]), Promise.resolve());
      expect((await unhandled)[0]).toEqual(new Error('the link is closed'));
    } finally {
      for (const listener of others) process.on('unhandledRejection', listener);
    }
  });

  it('lets the event loop turn while it is copied aside, and continues meanwhile', async () => {
    const sent: Sent[] = [];
    const sender = senderTo(sent, stateChunkBytes);
    const numbers = numbered(newState(nineChunks));
    const received = newState(nineChunks);
    sender.start({ term: 1, step: 5 }, new StateBytes([numbers]));
    let [turns, isKept] = [0, false];
    const turn = () => {
      if (isKept) return;
      turns++;
      if (turns === 2) sender.acknowledged({ term: 1, step: 5, offset: 2 * stateChunkBytes });
      setImmediate(turn);
    };
    setImmediate(turn);
    await sender.keep();
    isKept = true;
    expect(turns).toBeGreaterThanOrEqual(4);
    expect(sent).toHaveLength(stateChunksInFlight + 2);
    numbers.fill(-1);
    await receiveAll(sender, sent, new StateBytes([received]));
    expect(bytesOf(received).equals(bytesOf(numbered(numbers)))).toBe(true);
  });

  it.each([
    ['before an update', 0],
    ['while it is copied aside', 1],
    ['after an update', 2],
  ])('is released when its checkpoint is given up %s; the next arrives complete', async (_, when) => {
    const sent: Sent[] = [];
    const sender = senderTo(sent, stateChunkBytes);
    const state = new CountedState([newState(nineChunks)]);
    sender.start({ term: 1, step: 4 }, state);
    sender.drop(3); // another one
    if (when === 0) sender.drop(4);
    const kept = sender.keep();
    if (when === 1) sender.drop(4);
    await kept;
    if (when === 2) sender.drop(4);
    const { readBytes } = state;
    await sender.keep();
    sender.acknowledged({ term: 1, step: 4, offset: stateChunkBytes });
    expect(sent.splice(0)).toHaveLength(stateChunksInFlight);
    expect(state.readBytes).toBe(readBytes);
    expect(readBytes).toBe([4, 5, 9][when]! * stateChunkBytes);

    const numbers = numbered(newState(nineChunks));
    const received = newState(nineChunks);
    sender.start({ term: 1, step: 5 }, new StateBytes([numbers]));
    await receiveAll(sender, sent, new StateBytes([received]));
    expect(bytesOf(received).equals(bytesOf(numbers))).toBe(true);
  });

  it('reads and writes pieces that are cut, wherever a range begins', () => {
    const numbers = numbered(newState([7, 2]));
    const whole = bytesOf(numbers);
    const state = new StateBytes([numbers.subarray(0, 5), numbers.subarray(5)], 12);
    expect(state.byteLength).toBe(whole.byteLength);
    for (const [from, size] of [
      [0, whole.byteLength],
      [10, 15],
      [19, 2],
      [20, 0],
    ] as const) {
      expect(Buffer.from(state.copy(from, size)).equals(whole.subarray(from, from + size))).toBe(true);
    }
    const copy = newState([7, 2]);
    new StateBytes([copy], 12).write(0, whole);
    expect(bytesOf(copy).equals(whole)).toBe(true);
  });

  it('may be longer than a Uint8Array', () => {
    // Address space only: two pages of it are touched.
    const numbers = new Float32Array(new SharedArrayBuffer(2 ** 32 + 64));
    numbers.set([1, 2], 2 ** 30);
    const state = new StateBytes([numbers]);
    expect(state.byteLength).toBe(2 ** 32 + 64);
    expect(new Float32Array(state.copy(2 ** 32 - 4, 12).buffer)).toEqual(new Float32Array([0, 1, 2]));
  });

  it('sends no more than is available, and is under way until everything is acknowledged', () => {
    const sent: Sent[] = [];
    const sender = new StateSender(({ offset }, payload) => sent.push({ offset, payload }), { chunkBytes: 8 });
    const numbers = numbered(newState([5]));
    const at = { term: 1, step: 2 };
    expect(sender.isUnderWay).toBe(false);
    sender.start(at, new StateBytes([numbers]), undefined, 0);
    sender.available(7);
    expect([sent.length, sender.isUnderWay]).toEqual([0, true]);
    for (const bytes of [8, 23, 60]) sender.available(bytes);
    // Four are under way.
    expect(sent.map(({ offset }) => offset)).toEqual([0, 8, 16, 24]);
    for (let i = 0; i < sent.length; i++) sender.acknowledged({ ...at, offset: Math.min(60, 8 * (i + 1)) });
    expect(sent.map(({ payload }) => payload.length)).toEqual([8, 8, 8, 8, 8, 8, 8, 4]);
    expect(Buffer.concat(sent.map(({ payload }) => payload))).toEqual(bytesOf(numbers));
    expect(sender.isUnderWay).toBe(false);
    sender.start({ term: 2, step: 2 }, new StateBytes([numbers]));
    sender.drop();
    expect(sender.isUnderWay).toBe(false);
  });

  it('ignores acknowledgements of another step', () => {
    let chunks = 0;
    const sender = new StateSender(() => chunks++);
    sender.start({ term: 1, step: 2 }, new StateBytes([newState([8 << 20])]));
    sender.acknowledged({ term: 1, step: 1, offset: stateChunkBytes });
    expect(chunks).toBe(stateChunksInFlight);
  });

  it.each([
    ['out of order', 4, 4],
    ['beyond the end', 0, 1_000],
    ['empty', 0, 0],
  ])('refuses a chunk that is %s', (_, offset, size) => {
    const receiver = new StateReceiver(new StateBytes([newState([2])]), () => {});
    expect(() => receiver.add(offset, new Uint8Array(size))).toThrow(/expected state from byte 0 of 24/);
  });
});
