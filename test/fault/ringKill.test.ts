/** Ring ranks in processes of their own, one of which is killed while the others wait for it. Needs dist/. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import type { RingBenchReply, RingBenchRequest } from '../../src/bench/ringBenchRank.ts';

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

async function ask(child: ChildProcess, request: RingBenchRequest): Promise<RingBenchReply> {
  child.send(request);
  const [reply] = await once(child, 'message');
  return reply as RingBenchReply;
}

it('SIGKILL of a rank in the middle of a step: the one before it names it, and every process ends', async () => {
  const worldSize = 3;
  const script = fileURLToPath(new URL('../../dist/bench/ringBenchRank.js', import.meta.url));
  const ranks = Array.from({ length: worldSize }, () => fork(script));
  children.push(...ranks);
  const opened = await Promise.all(
    ranks.map((child, rank) =>
      ask(child, {
        type: 'open',
        rank,
        worldSize,
        elements: 3e6,
        bucketElements: 1e6,
        chunkBytes: 65_536,
        localRing: true,
        encrypted: true,
      }),
    ),
  );
  const addresses = opened.map((reply) => (reply.type === 'opened' ? reply.address : ''));
  const at = (rank: number) => addresses[(rank + worldSize) % worldSize]!;
  await Promise.all(
    ranks.map((child, rank) => ask(child, { type: 'form', next: at(rank + 1), previous: at(rank - 1) })),
  );
  const [first, second, third] = ranks;
  const step = async (number: number) => {
    await Promise.all(ranks.map((child) => ask(child, { type: 'prepare', step: number })));
    return ranks.map((child) => () => ask(child, { type: 'step', check: true }));
  };
  const whole = await step(0);
  for (const reply of await Promise.all(whole.map((go) => go())))
    expect(reply).toMatchObject({ type: 'stepped', wrong: 0 });

  const [goFirst, , goThird] = await step(1);
  const waiting = goFirst!();
  void goThird!();
  second!.kill('SIGKILL');
  const reply = await waiting;
  expect(reply).toMatchObject({
    type: 'failed',
    message: expect.stringMatching(/^rank 1 \(next in the ring\) is gone: .*\(term 0, step 1\)$/),
  });
  const ends = [first!, third!].map((child) => once(child, 'exit'));
  first!.disconnect();
  third!.disconnect();
  expect(await Promise.all(ends)).toEqual([
    [0, null],
    [0, null],
  ]);
});
