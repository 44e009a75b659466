/** A lease on an object of a store that does not answer, that another process claims in the same second, or whose owner has another version. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { PeerError } from '../../../src/base/errors.ts';
import { openBucket } from '../../../src/objectStore/buckets.ts';
import { type LeaseTimes, ObjectLease } from '../../../src/objectStore/objectLease.ts';
import { FakeStore } from './fakeStore.ts';

async function openLease() {
  const store = await FakeStore.open();
  const { client, key } = openBucket('s3://bucket/lease', store.env);
  const lost: string[] = [];
  const claim = (times: Partial<LeaseTimes>) =>
    ObjectLease.claim(client, key, {
      refusal: (who) => `${who} has it`,
      onWait: () => {},
      onLost: (who) => void lost.push(who),
      times: { renewEveryMs: 10, leaseMs: 150, settleMs: 0, ...times },
    });
  return { store, key, claim, lost };
}

it('has one renewal at a time in an outage, and gives the lease up within seconds', async () => {
  const { store, claim } = await openLease();
  const lease = await claim({ requestMs: 60_000 });
  await sleep(50);
  store.fault = () => 'silent';
  await sleep(50);
  const before = store.requests.length;
  await sleep(200);
  expect(store.requests.length).toBeLessThanOrEqual(before + 2);
  // The renewal that hangs is given up, and with a store that answers again the lease is free at once.
  store.fault = () => undefined;
  await lease.release();
  expect(store.objects.size).toBe(0);

  const other = await claim({ requestMs: 100 });
  store.fault = () => 'silent';
  await other.release();
  store.fault = () => undefined;
});

it('gives a renewal up that takes too long, and renews when the store answers again', async () => {
  const { store, key, claim } = await openLease();
  const lease = await claim({ requestMs: 50 });
  store.fault = () => 'silent';
  await sleep(120);
  const { tag } = store.objects.get(key)!;
  store.fault = () => undefined;
  await expect.poll(() => store.objects.get(key)!.tag !== tag, { timeout: 10_000 }).toBe(true);
  await lease.release();
});

it('leaves the lease to the process that claimed it in the same moment and was later', async () => {
  const { store, key, claim } = await openLease();
  store.fault = (_, request) => {
    if (request !== `PUT ${key}`) return undefined;
    setImmediate(() => {
      const owner = JSON.parse(store.objects.get(key)!.body.toString());
      store.put(key, Buffer.from(JSON.stringify({ ...owner, host: 'other', claim: 'theirs' })));
    });
    return undefined;
  };
  const refused = claim({ settleMs: 100 });
  await expect(refused).rejects.toThrow('on other has it');
  // A process that lives now may have ended soon, so a scheduler may start this one again.
  await expect(refused).rejects.toBeInstanceOf(PeerError);
});

it('counts an owner that it cannot read as one that may live', async () => {
  const { store, key, claim, lost } = await openLease();
  store.put(key, Buffer.from('{"version":2}'));
  let beat = 0;
  const renewing = setInterval(() => store.put(key, Buffer.from(`{"version":2,"beat":${++beat}}`)), 10);
  await expect(claim({ leaseMs: 10_000 })).rejects.toThrow('another process has it');
  clearInterval(renewing);
  // It was silent for long.
  const lease = await claim({ renewEveryMs: 60_000 });
  store.put(key, Buffer.from('{"version":2}'));
  await expect(lease.check()).rejects.toThrow('another process has taken');
  expect(lost).toEqual(['another process']);
  await lease.release();
  expect(store.objects.has(key)).toBe(true);
});
