import { expect, it } from 'vitest';
import { openBucket } from '../../../src/objectStore/buckets.ts';
import { ObjectLease } from '../../../src/objectStore/objectLease.ts';
import { FakeStore } from './fakeStore.ts';

const times = { renewEveryMs: 40, leaseMs: 150, settleMs: 0 };

it('lets one process write below a prefix, and another when that has ended or was silent for long', async () => {
  const store = await FakeStore.open();
  const { client, key } = openBucket('s3://bucket/lease', store.env);
  const said: string[] = [];
  const lost: string[] = [];
  const body = () => store.objects.get(key)!.body.toString();
  const claim = () =>
    ObjectLease.claim(client, key, {
      refusal: (who) => `${who} has it`,
      onWait: (message) => void said.push(message),
      onLost: (who) => void lost.push(who),
      times,
    });
  const first = await claim();
  await expect(claim()).rejects.toThrow(`process ${process.pid} on`);
  // As if it were on another machine, where only its renewals tell that it lives.
  const owner = { ...JSON.parse(body()), host: 'other', claim: 'theirs' };
  await first.release();
  let beat = 0;
  const renewing = setInterval(() => store.put(key, Buffer.from(JSON.stringify({ ...owner, beat: ++beat }))), 10);
  store.put(key, Buffer.from(JSON.stringify(owner)));
  await expect(claim()).rejects.toThrow('on other has it');
  clearInterval(renewing);
  const second = await claim();
  await second.check();
  expect(said.join('\n')).toContain('waiting up to 1 s');
  store.put(key, Buffer.from(JSON.stringify({ ...owner, beat: ++beat })));
  await expect(second.check()).rejects.toThrow('on other has taken s3://bucket/lease');
  expect(lost).toEqual([`process ${process.pid} on other`]);
  await second.release();
  expect(body()).toContain('theirs');

  // Frozen while another process took it, wrote and ended.
  store.objects.delete(key);
  const third = await claim();
  store.objects.delete(key);
  await expect(third.check()).rejects.toThrow('a process that has ended since has taken s3://bucket/lease');
  await third.release();
  expect(lost).toHaveLength(2);
  expect(store.objects.has(key)).toBe(false);
});
