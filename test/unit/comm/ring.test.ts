import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { InvariantError, PeerError } from '../../../src/base/errors.ts';
import type { Bucket } from '../../../src/comm/buckets.ts';
import { memoryTransport } from '../../../src/comm/memoryLink.ts';
import { encodeRingHeader } from '../../../src/comm/ringFrames.ts';
import { zmqTransport } from '../../../src/comm/zmqLink.ts';
import { cut, fillAll, formAll, type Member, openMembers, Random, SeededScheduler } from './ringHarness.ts';

const open: Member[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map(({ link }) => link.close()));
});

async function members(...args: Parameters<typeof openMembers>): Promise<Member[]> {
  const result = await openMembers(...args);
  open.push(...result);
  return result;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function expectSums(ranks: readonly Member[], sum: Float64Array): void {
  const [first] = ranks;
  for (const { data } of ranks) {
    expect(Buffer.compare(new Uint8Array(data.buffer), new Uint8Array(first!.data.buffer))).toBe(0);
  }
  expect(sum.reduce((worst, value, i) => Math.max(worst, Math.abs(first!.data[i]! - value)), 0)).toBeLessThan(1e-4);
}

/** Steps through one all-reduce with the network and the ranks' starts interleaved by the seed; no real time passes. */
async function simulate(seed: number): Promise<void> {
  const random = new Random(seed);
  const worldSize = 1 + random.below(6);
  const scheduler = new SeededScheduler(random);
  const transport = memoryTransport({}, scheduler.schedule);
  const early = random.below(2) === 0 ? 300 : 2 ** 20; // so little that links have to wait, or plenty
  const ranks = await openMembers(worldSize, { chunkBytes: 4 + random.below(200), earlyBytesMax: early }, transport);
  formAll(ranks, 1);
  for (let step = 0; step < 3; step++) {
    const length = random.below(400);
    const buckets = cut(length, 1 + random.below(5), random);
    const sum = fillAll(ranks, length, random);
    // What each rank still has to do, in order; which rank goes next is up to the seed.
    const todo = ranks.map(({ ring, data }) => [
      () => ring.begin({ step, data, buckets }),
      ...buckets.map((_, index) => () => ring.start(index)),
    ]);
    const ends = ranks.map(() => false);
    const done: Promise<void>[] = [];
    while (ends.includes(false)) {
      const rank = random.below(worldSize);
      if (random.below(4) === 0 && todo[rank]!.length > 0) {
        todo[rank]!.shift()!();
        if (todo[rank]!.length === buckets.length) {
          const ended = () => {
            ends[rank] = true;
          };
          done.push(ranks[rank]!.ring.whenDone().then(ended));
        }
      } else if (!scheduler.step()) await Promise.resolve();
      if (todo.every((list) => list.length === 0) && scheduler.pending === 0) {
        for (let i = 0; i < 20; i++) await Promise.resolve();
        expect(scheduler.pending > 0 || !ends.includes(false), `seed ${seed}: stuck`).toBe(true);
      }
    }
    await Promise.all(done);
    expectSums(ranks, sum);
    const expected = worldSize === 1 ? 0 : length * 4 * 2 * (worldSize - 1);
    expect(ranks.reduce((total, { ring }) => total + ring.stats().bytesSent, 0)).toBe(expected);
    for (const { ring } of ranks) expect(ring.stats()).toMatchObject({ stale: 0, malformed: 0 });
  }
}

describe('ring all-reduce', () => {
  it('gives every rank the same sums under 300 interleavings, any sizes, 1 to 6 ranks', async () => {
    for (let seed = 0; seed < 300; seed++) await simulate(seed);
  });

  it.each([true, false])('works over sockets (local: %s), buckets started in any time', async (localRing) => {
    const random = new Random(5);
    const ranks = await members(3, { chunkBytes: 40_000 }, zmqTransport({ localRing }), '127.0.0.1');
    formAll(ranks, 1);
    for (let step = 0; step < 3; step++) {
      const sum = fillAll(ranks, 300_000, random);
      const buckets = cut(300_000, 7, random);
      await Promise.all(
        ranks.map(async ({ ring, data }) => {
          ring.begin({ step, data, buckets });
          for (const index of buckets.keys()) {
            await pause(random.below(8));
            ring.start(index);
          }
          await ring.whenDone();
        }),
      );
      expectSums(ranks, sum);
    }
  });

  it('sums a segment in one order: the bits do not depend on who comes first', async () => {
    const results: Uint8Array[] = [];
    for (const seed of [1, 2, 3]) {
      const scheduler = new SeededScheduler(new Random(seed));
      const ranks = await openMembers(5, {}, memoryTransport({}, scheduler.schedule));
      formAll(ranks, 1);
      fillAll(ranks, 1000, new Random(99));
      const buckets = [{ start: 0, end: 1000 }];
      for (const { ring, data } of ranks) ring.begin({ step: 0, data, buckets });
      for (const { ring } of new Random(seed).shuffled(ranks)) ring.start(0);
      while (scheduler.step()) await Promise.resolve();
      results.push(new Uint8Array(ranks[seed]!.data.buffer));
    }
    expect(Buffer.compare(results[0]!, results[1]!)).toBe(0);
    expect(Buffer.compare(results[0]!, results[2]!)).toBe(0);
  });

  it('a world of one is done when its buckets have started', async () => {
    const [one] = await members(1);
    formAll([one!], 0);
    one!.ring.begin({ step: 0, data: Float32Array.of(1, 2), buckets: [{ start: 0, end: 2 }] });
    one!.ring.start(0);
    await one!.ring.whenDone();
    expect(one!.ring.stats()).toMatchObject({ bytesSent: 0, framesReceived: 0 });
  });
});

const buckets: Bucket[] = [{ start: 0, end: 64 }];

async function formed(worldSize: number, options: Parameters<typeof openMembers>[1] = {}): Promise<Member[]> {
  const ranks = await members(worldSize, options);
  formAll(ranks, 3);
  fillAll(ranks, 64, new Random(1));
  return ranks;
}

async function run(ranks: readonly Member[], step: number): Promise<void> {
  for (const { ring, data } of ranks) ring.begin({ step, data, buckets });
  for (const { ring } of ranks) ring.start(0);
  await Promise.all(ranks.map(({ ring }) => ring.whenDone()));
}

describe('frames that must not count', () => {
  const header = { term: 3, step: 0, bucket: 0, phase: 'reduceScatter', segment: 1, chunk: 0, rank: 1 } as const;

  it.each([
    ['an older term', { term: 2 }, 64, 'stale'],
    ['an older step', { step: 0 }, 64, 'stale'],
    ['another rank', { rank: 0 }, 64, 'malformed'],
    ['no such bucket', { bucket: 1 }, 64, 'malformed'],
    ['no such segment', { segment: 2 }, 64, 'malformed'],
    ["the receiver's own segment", { segment: 0 }, 64, 'malformed'],
    ['no such chunk', { chunk: 2 }, 64, 'malformed'],
    ['too few bytes', {}, 60, 'malformed'],
    ['too many bytes', {}, 68, 'malformed'],
    ['no bytes', {}, 0, 'malformed'],
    ['not a multiple of a float', {}, 63, 'malformed'],
  ] as const)('%s', async (_name, change, bytes, count) => {
    const ranks = await formed(2);
    await run(ranks, 4);
    const sum = fillAll(ranks, 64, new Random(2));
    for (const { ring, data } of ranks) ring.begin({ step: 5, data, buckets });
    ranks[0]!.ring.start(0);
    const forged = { ...header, step: 5, ...change };
    ranks[1]!.link.send(encodeRingHeader(forged), new Uint8Array(bytes).fill(1));
    await pause(5);
    expect(ranks[0]!.ring.stats()[count]).toBe(1);
    ranks[1]!.ring.start(0);
    await Promise.all(ranks.map(({ ring }) => ring.whenDone()));
    expectSums(ranks, sum);
  });

  it('random headers and payloads change nothing', async () => {
    const ranks = await formed(2);
    const sum = fillAll(ranks, 64, new Random(3));
    for (const { ring, data } of ranks) ring.begin({ step: 1, data, buckets });
    ranks[0]!.ring.start(0);
    const valid = encodeRingHeader({ ...header, step: 1 });
    let sent = 0;
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 28, maxLength: 28 }),
        fc.array(fc.tuple(fc.nat(27), fc.nat(255)), { minLength: 1, maxLength: 3 }),
        fc.uint8Array({ maxLength: 80 }),
        (noise, changes, payload) => {
          const changed = valid.slice();
          for (const [at, value] of changes) changed[at] = value;
          // A header that the change left intact, and a payload of the right size, would be the frame itself.
          if (Buffer.compare(changed, valid) === 0 && payload.length === 64) return;
          // Frames of later terms and steps are kept for later: not what this test is about.
          if (
            changed[4] !== 3 ||
            changed.subarray(5, 8).some(Boolean) ||
            changed[8]! > 1 ||
            changed.subarray(9, 12).some(Boolean)
          )
            return;
          // So is a gap, which fails the step.
          if (changed[16] === 1 && changed[20] === 1 && payload.length === 64) return;
          ranks[1]!.link.send(noise, payload);
          ranks[1]!.link.send(changed, payload);
          sent += 2;
        },
      ),
      { numRuns: 2000, seed: 7 },
    );
    ranks[1]!.ring.start(0);
    await Promise.all(ranks.map(({ ring }) => ring.whenDone()));
    expectSums(ranks, sum);
    const { stale, malformed } = ranks[0]!.ring.stats();
    expect(stale + malformed).toBe(sent);
    expect(ranks[0]!.logged).toHaveLength(5);
  });

  it('frames of the next step and of the next term are kept until they are due', async () => {
    const ranks = await formed(2);
    await run(ranks, 0);
    const [a, b] = ranks;
    let sum = fillAll(ranks, 64, new Random(4));
    a!.ring.begin({ step: 1, data: a!.data, buckets });
    a!.ring.start(0);
    await pause(5); // all of it has arrived at b, which has not begun
    b!.ring.begin({ step: 1, data: b!.data, buckets });
    b!.ring.start(0);
    await Promise.all(ranks.map(({ ring }) => ring.whenDone()));
    expectSums(ranks, sum);

    a!.ring.form({ term: 4, rank: 0, worldSize: 2, next: b!.link.address, previous: b!.link.address });
    sum = fillAll(ranks, 64, new Random(5));
    a!.ring.begin({ step: 1, data: a!.data, buckets });
    a!.ring.start(0);
    await pause(5);
    b!.ring.form({ term: 4, rank: 1, worldSize: 2, next: a!.link.address, previous: a!.link.address });
    b!.ring.begin({ step: 1, data: b!.data, buckets });
    b!.ring.start(0);
    await Promise.all(ranks.map(({ ring }) => ring.whenDone()));
    expectSums(ranks, sum);
    for (const { ring } of ranks) expect(ring.stats()).toMatchObject({ stale: 0, malformed: 0 });
  });
});

describe('failure', () => {
  it('a rank that sends nothing is named, with what is missing', async () => {
    const ranks = await formed(3, { stepTimeoutMs: 60 });
    for (const { ring, data } of ranks) ring.begin({ step: 7, data, buckets });
    ranks[1]!.ring.start(0);
    ranks[2]!.ring.start(0);
    await expect(ranks[1]!.ring.whenDone()).rejects.toThrow(
      'rank 0 (previous in the ring) sent nothing for 60 ms: bucket 0, reduce-scatter, segment 0, chunk 0 of 2 is missing (term 3, step 7)',
    );
    const error = await ranks[1]!.ring.whenDone().catch((failure: unknown) => failure);
    expect(error).toBeInstanceOf(PeerError);
    expect(error).toMatchObject({ suspect: 0 });
  });

  it('a rank that is slow itself blames nobody', async () => {
    const ranks = await formed(2, { stepTimeoutMs: 40 });
    for (const { ring, data } of ranks) ring.begin({ step: 7, data, buckets: [...buckets, { start: 0, end: 0 }] });
    for (const { ring } of ranks) ring.start(0);
    await pause(150);
    for (const { ring } of ranks) ring.start(1);
    await Promise.all(ranks.map(({ ring }) => ring.whenDone()));
  });

  it.each([
    ['memory', () => memoryTransport(), 'memory'],
    ['zmq', () => zmqTransport(), '127.0.0.1'],
    ['zmq, TCP only', () => zmqTransport({ localRing: false }), '127.0.0.1'],
  ] as const)('a next rank that closes is noticed at once, and named (%s)', async (_name, make, host) => {
    const ranks = await members(3, { stepTimeoutMs: 60_000 }, make(), host);
    formAll(ranks, 1);
    fillAll(ranks, 64, new Random(1));
    await run(ranks, 0);
    for (const { ring, data } of ranks) ring.begin({ step: 1, data, buckets });
    ranks[0]!.ring.start(0);
    await ranks[1]!.link.close();
    await expect(ranks[0]!.ring.whenDone()).rejects.toThrow(
      /^rank 1 \(next in the ring\) is gone: .*\(term 1, step 1\)$/,
    );
    await expect(ranks[0]!.ring.whenDone()).rejects.toMatchObject({ suspect: 1 });
  });

  it('a next rank that closes between steps fails the next one', async () => {
    const ranks = await formed(2);
    await run(ranks, 0);
    await ranks[1]!.link.close();
    await pause(5);
    ranks[0]!.ring.begin({ step: 1, data: ranks[0]!.data, buckets });
    ranks[0]!.ring.start(0);
    await expect(ranks[0]!.ring.whenDone()).rejects.toThrow(/^rank 1 \(next in the ring\) is gone/);
  });

  it('a lost frame is noticed by the one behind it', async () => {
    const ranks = await formed(2);
    for (const { ring, data } of ranks) ring.begin({ step: 0, data, buckets });
    ranks[0]!.ring.start(0);
    const second = { term: 3, step: 0, bucket: 0, phase: 'reduceScatter', segment: 1, chunk: 1, rank: 1 } as const;
    ranks[1]!.link.send(encodeRingHeader(second), new Uint8Array(64));
    await expect(ranks[0]!.ring.whenDone()).rejects.toThrow(
      /rank 1 .*lost a frame: .*chunk 0 of 2 is missing, chunk 1 came/,
    );
    await expect(ranks[0]!.ring.whenDone()).rejects.toMatchObject({ suspect: 1 });
  });

  it('abort rejects, frees what is held, and the survivors continue in a new term', async () => {
    const ranks = await formed(3);
    for (const { ring, data } of ranks) ring.begin({ step: 0, data, buckets });
    ranks[0]!.ring.start(0);
    ranks[1]!.ring.start(0);
    await pause(5);
    for (const { ring } of ranks) ring.abort(new PeerError('rank 2 died'));
    await expect(ranks[0]!.ring.whenDone()).rejects.toThrow('rank 2 died');
    ranks[0]!.ring.start(0); // backward is still running and does not know yet
    await pause(5);
    for (const { ring } of ranks) expect(ring.stats().malformed).toBe(0);
    const survivors = ranks.slice(0, 2);
    formAll(survivors, 4);
    const sum = fillAll(survivors, 64, new Random(8));
    await run(survivors, 0);
    expectSums(survivors, sum);
  });

  it('misuse throws an InvariantError', async () => {
    const [a] = await formed(2);
    const step = { step: 0, data: a!.data, buckets };
    expect(() => a!.ring.start(0)).toThrow(InvariantError);
    expect(() => a!.ring.begin({ ...step, buckets: [{ start: 0, end: 65 }] })).toThrow(InvariantError);
    a!.ring.begin(step);
    expect(() => a!.ring.begin(step)).toThrow(InvariantError);
    expect(() => a!.ring.form({ term: 3, rank: 0, worldSize: 2, next: '', previous: '' })).toThrow(InvariantError);
    a!.ring.start(0);
    expect(() => a!.ring.start(0)).toThrow(InvariantError);
  });
});
