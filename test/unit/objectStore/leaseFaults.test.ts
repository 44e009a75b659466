/** A lease on an object of a store that does not answer. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
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
