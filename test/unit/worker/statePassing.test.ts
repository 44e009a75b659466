import { expect, it } from 'vitest';
import type { CoordinatorMessageOf } from '../../../src/comm/coordinatorMessages.ts';
import type { RingError } from '../../../src/comm/ringError.ts';
import { Inbox } from '../../../src/worker/inbox.ts';
import { StatePassing } from '../../../src/worker/statePassing.ts';
import { StateBytes, StateSender } from '../../../src/worker/stateStream.ts';
import { openMembers } from '../comm/ringHarness.ts';

const numbers = Float32Array.from({ length: 1_000 }, (_, i) => i / 3);
const chunkBytes = 128;

/** Ranks in a ring, with a coordinator that passes on acknowledgements. Rank 0 has the state, the others follow. */
async function chain(worldSize: number) {
  const members = await openMembers(worldSize, {}, undefined, undefined);
  const broken: RingError[] = [];
  let mostUnderWay = 0;
  const sent = new Map<number, number>();
  const ranks = members.map(({ ring, link }, rank) => {
    const at = (other: number) => members[(other + worldSize) % worldSize]!.link.address;
    const place = { term: 1, rank, worldSize };
    const form: CoordinatorMessageOf<'form'> = {
      ...{
        type: 'form',
        ...place,
        nextAddress: at(rank + 1),
        previousAddress: at(rank - 1),
        step: 5,
        committedTerm: 1,
      },
      ...{ state: rank === 0 ? 'keep' : 'follow', send: rank < worldSize - 1, verify: false },
    };
    const stream = new StateSender(
      ({ offset }, chunk) => {
        sent.set(rank, offset + chunk.length);
        ring.sendPiece(5, offset, chunk);
      },
      { chunkBytes },
    );
    const state = new StateBytes([rank === 0 ? numbers : new Float32Array(numbers.length)]);
    const inbox = new Inbox();
    const passing = new StatePassing({
      ...{ form, ring, inbox, stream },
      send: (message) => {
        if (message.type !== 'stateAck') return;
        mostUnderWay = Math.max(mostUnderWay, sent.get(rank - 1)! - message.offset);
        setImmediate(() => ranks[rank - 1]!.stream.acknowledged(message));
      },
      onBroken: (error) => {
        broken.push(error);
        inbox.interrupt(error);
      },
    });
    ring.form({ ...place, next: form.nextAddress, previous: form.previousAddress });
    return { passing, stream, state, inbox, ring, link };
  });
  const close = async () => {
    for (const { ring, link } of ranks) {
      ring.abort(new Error('the test is over'));
      await link.close();
    }
  };
  return { ranks, broken, close, mostUnderWay: () => mostUnderWay };
}

it('goes from rank to rank, with a few chunks under way between two', async () => {
  const { ranks, broken, close, mostUnderWay } = await chain(5);
  const received = ranks.slice(1).map(({ passing, state }) => passing.receive(state));
  ranks[0]!.passing.start(ranks[0]!.state);
  await Promise.all(received);
  const bytes = Buffer.from(numbers.buffer);
  for (const { state } of ranks) expect(Buffer.from(state.copy(0, state.byteLength)).equals(bytes)).toBe(true);
  expect(mostUnderWay()).toBeLessThanOrEqual(3 * chunkBytes);
  await expect.poll(() => ranks.some(({ stream }) => stream.isUnderWay)).toBe(false);
  // From here on a neighbour that is gone is what the next step finds.
  await ranks[3]!.link.close();
  await new Promise((resolve) => setTimeout(resolve, 10));
  expect(broken).toEqual([]);
  await close();
});

it('waits for a rank that hears of the term later', async () => {
  const { ranks, close } = await chain(3);
  ranks[0]!.passing.start(ranks[0]!.state);
  await new Promise((resolve) => setTimeout(resolve, 10));
  await Promise.all([ranks[2]!, ranks[1]!].map(({ passing, state }) => passing.receive(state)));
  expect(ranks[2]!.state.copy(0, 4_000)).toEqual(ranks[0]!.state.copy(0, 4_000));
  await close();
});

it('ends the term at the rank whose next one is gone in the middle of it', async () => {
  const { ranks, broken, close } = await chain(4);
  const [, one, , three] = ranks;
  // The last rank never takes a piece, so the one before it stops after the chunks that may be under way.
  const received = one!.passing.receive(one!.state);
  const stopped = ranks[2]!.passing.receive(ranks[2]!.state);
  ranks[0]!.passing.start(ranks[0]!.state);
  await received;
  await stopped;
  expect(ranks[2]!.stream.isUnderWay).toBe(true);
  await three!.link.close();
  await expect.poll(() => broken.length).toBe(1);
  expect(broken[0]).toMatchObject({ suspect: 3, message: expect.stringContaining('is gone') });
  await close();
});
