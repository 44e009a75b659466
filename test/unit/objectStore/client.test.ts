import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, Agent as HttpAgent } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { PeerError, UserError } from '../../../src/base/errors.ts';
import { openBucket } from '../../../src/objectStore/buckets.ts';
import { BucketClient } from '../../../src/objectStore/client.ts';
import { storeSettings } from '../../../src/objectStore/credentials.ts';
import { HttpClient } from '../../../src/objectStore/http.ts';
import { openObject } from '../../../src/objectStore/objectReader.ts';
import {
  deleteObject,
  getRange,
  hasObjects,
  headObject,
  listObjects,
  listUploads,
  putObject,
} from '../../../src/objectStore/objects.ts';
import { ReadCopy } from '../../../src/objectStore/readCopy.ts';
import { sha256Of } from '../../../src/objectStore/signature.ts';
import { ObjectUpload, partBytesFor } from '../../../src/objectStore/upload.ts';
import { temporaryFolder } from '../checkpoint/tinyCheckpoint.ts';
import { FakeStore, fakeKeys } from './fakeStore.ts';

/** Hardly any pause, and few attempts. */
const retries = { attemptsAtFirst: 4, attempts: 4, firstPauseMs: 1, longestPauseMs: 2 };

async function open(env: Record<string, string> = {}, bucket = 'bucket', isEncrypted = false) {
  const store = await FakeStore.open(isEncrypted);
  const client = new BucketClient(bucket, storeSettings({ ...store.env, ...env }), { retries });
  return { store, client };
}

const odd = "a folder/ü & <é>+100%.json'";

describe('objects', () => {
  test('are put, read in ranges, listed and deleted, whatever their names', async () => {
    const { store, client } = await open();
    store.pageSize = 2;
    await putObject(client, odd, Buffer.from('0123456789'), { metadata: { 'lockstep-writer': 'me 1' } });
    for (const key of ['b/1', 'b/2', 'b/3', 'c']) await putObject(client, key, Buffer.from(key));
    expect(await headObject(client, odd)).toMatchObject({ bytes: 10, metadata: { 'lockstep-writer': 'me 1' } });
    expect(String(await getRange(client, odd, { start: 3, end: 7 }))).toBe('3456');
    const keys: string[] = [];
    for await (const { key, bytes } of listObjects(client, 'b/')) keys.push(`${key} ${bytes}`);
    expect(keys).toEqual(['b/1 3', 'b/2 3', 'b/3 3']);
    expect(await hasObjects(client, 'a fol')).toBe(true);
    await deleteObject(client, odd);
    await deleteObject(client, odd);
    expect(await hasObjects(client, 'a fol')).toBe(false);
    expect(await headObject(client, odd)).toBeUndefined();
    expect(await getRange(client, odd, { start: 0, end: 1 })).toBeUndefined();
    expect(store.requests.length).toBeGreaterThan(10);
  });

  test('that were replaced or are too short are not read', async () => {
    const { client } = await open();
    await putObject(client, 'a', Buffer.from('before'));
    const { tag } = (await headObject(client, 'a'))!;
    await putObject(client, 'a', Buffer.from('after!'));
    await expect(getRange(client, 'a', { start: 0, end: 3, tag })).rejects.toThrow('s3://bucket/a was replaced');
    await expect(getRange(client, 'a', { start: 0, end: 9 })).rejects.toThrow('it ends before byte 9');
  });
});

describe('faults that pass', () => {
  test.each(['lost', 'unanswered', 429, 500, 503] as const)('%s: the request is repeated', async (fault) => {
    const { store, client } = await open();
    store.fault = (count) => (count < 2 ? fault : undefined);
    await putObject(client, 'a', Buffer.from('text'));
    expect(store.objects.get('a')?.body.toString()).toBe('text');
    expect(store.requests).toHaveLength(3);
  });

  test('that do not pass end with what failed, where and why', async () => {
    const { store, client } = await open();
    store.fault = () => 503;
    await expect(putObject(client, 'a', Buffer.from('text'))).rejects.toThrow(
      new PeerError(
        `s3://bucket/a: PUT failed 4 times at ${store.endpoint}, at last because 503 Fault (as the test wants it)`,
      ),
    );
    const gone = new BucketClient(
      'bucket',
      storeSettings({ ...store.env, AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:9' }),
      {
        retries: { ...retries, attemptsAtFirst: 2 },
      },
    );
    await expect(headObject(gone, 'a')).rejects.toThrow(
      's3://bucket/a: HEAD failed 2 times at http://127.0.0.1:9, at last because nothing listens there (ECONNREFUSED)',
    );
  });
});

test('a store that does not answer is given up in time', async () => {
  const { store } = await open();
  store.fault = () => 'silent';
  const client = new BucketClient('bucket', storeSettings(store.env), {
    retries: { ...retries, attemptsAtFirst: 2 },
    times: { idleMs: 50 },
  });
  await expect(headObject(client, 'a')).rejects.toThrow('HEAD failed 2 times at');
  await expect(headObject(client, 'a')).rejects.toThrow('nothing moved for 50 ms');
});

test('a client with one attempt uses the connections of its bucket', async () => {
  const { store, client } = await open();
  for (let i = 0; i < 3; i++) await putObject(i === 0 ? client : client.once(), `${i}`, Buffer.from('x'));
  expect(store.connections).toBe(1);
  store.fault = () => 503;
  await expect(putObject(client.once(), 'a', Buffer.from('x'))).rejects.toThrow(/PUT failed 1 time at/);
  expect(store.requests).toHaveLength(4);
});

describe('refusals say what to do, and no secret', () => {
  test.each([
    [
      { AWS_SECRET_ACCESS_KEY: 'another secret' },
      'bucket',
      'the keys from the environment (AWS_ACCESS_KEY_ID) are not valid',
    ],
    [{}, 'other', 'there is no bucket other at http://127.0.0.1'],
  ])('%o, %s', async (env, bucket, expected) => {
    const { client } = await open(env as Record<string, string>, bucket);
    const error = await putObject(client, 'a', Buffer.from('x')).catch((thrown: unknown) => thrown as Error);
    expect(error).toBeInstanceOf(UserError);
    expect(String(error)).toContain(expected);
    expect(String(error)).not.toContain('secret');
  });

  test('403', async () => {
    const { store, client } = await open();
    store.fault = () => 403;
    await expect(putObject(client, 'a', Buffer.from('x'))).rejects.toThrow('allow s3:PutObject there');
    expect(store.requests).toHaveLength(1);
  });
});

describe('an upload', () => {
  const partBytes = 100_000;
  const big = randomBytes(2 * partBytes + 12_345);

  async function upload(client: BucketClient, content: Uint8Array): Promise<void> {
    const file = new ObjectUpload(client, 'big', { who: 'me' }, partBytes);
    try {
      for (let at = 0; at < content.length; at += 30_011) await file.write(content.subarray(at, at + 30_011));
      await file.sync();
    } finally {
      await file.close();
    }
  }

  test('of a few bytes is one request, a large one goes in parts', async () => {
    const { store, client } = await open();
    await upload(client, Buffer.from('small'));
    expect(store.requests).toEqual(['PUT big']);
    await upload(client, big);
    expect(store.objects.get('big')!.body.equals(big)).toBe(true);
    expect(store.objects.get('big')!.metadata).toMatchObject({ 'x-amz-meta-who': 'me' });
    expect(store.requests.filter((each) => each.includes('partNumber'))).toHaveLength(3);
  });

  test.each(['lost', 'unanswered', 500] as const)(
    'is complete, and alone, when any of its requests is %s',
    async (fault) => {
      for (let at = 0; at < 5; at++) {
        const { store, client } = await open();
        store.fault = (count) => (count === at ? fault : undefined);
        await upload(client, big);
        expect(store.objects.get('big')!.body.equals(big)).toBe(true);
        expect(await listUploads(client, '')).toEqual([]);
      }
    },
  );

  test.each([false, true])('has its bodies in the signature, unless TLS protects them (%s)', async (isEncrypted) => {
    const { store, client } = await open({}, 'bucket', isEncrypted);
    await putObject(client, 'signed', Buffer.from('x'));
    await upload(client, Buffer.from('small'));
    await upload(client, big);
    expect(store.objects.get('big')!.body.equals(big)).toBe(true);
    const parts = ['PUT big', ...[1, 2, 3].map((number) => `PUT big?partNumber=${number}`)];
    expect(store.unsigned.map((each) => each.replace(/&.*/, ''))).toEqual(isEncrypted ? parts : []);
  });

  test('lets other work continue while it fills a buffer', async () => {
    const { client } = await open();
    const file = new ObjectUpload(client, 'big', {}, 3 * 2 ** 20);
    await file.write(new Uint8Array(3 * 2 ** 20));
    const written = file.write(new Uint8Array(3 * 2 ** 20 - 1));
    let isWritten = false;
    void written.then(() => {
      isWritten = true;
    });
    await new Promise((done) => setImmediate(done));
    expect(isWritten).toBe(false);
    await written;
    await file.sync();
    await file.close();
  });

  test('that fails leaves nothing', async () => {
    const { store, client } = await open();
    store.fault = (_, request) => (request.includes('partNumber=2') ? 503 : undefined);
    await expect(upload(client, big)).rejects.toThrow(PeerError);
    expect([store.objects.size, store.uploads.size]).toEqual([0, 0]);
  });
});

test('an object that was verified is read again from a copy on the disk', async () => {
  const { store, client } = await open();
  const content = randomBytes(9 * 2 ** 20);
  await putObject(client, 'a', content);
  const reader = await openObject(client, 'a');
  expect(await reader.hash(sha256Of(content))).toBe(sha256Of(content));
  await reader.close();
  // What was verified is on the disk: it does not travel again.
  const gets = () => store.requests.filter((each) => each === 'GET a').length;
  expect(gets()).toBe(2);
  const second = await openObject(client, 'a');
  const all = Buffer.alloc(content.length);
  await second.read(all, 0);
  await second.close();
  expect(all.equals(content)).toBe(true);
  expect(gets()).toBe(2);
});

test('a copy on the disk ends with a read that fails', async () => {
  const { store, client } = await open();
  const content = randomBytes(9 * 2 ** 20);
  await putObject(client, 'a', content);
  const close = vi.spyOn(ReadCopy.prototype, 'close');
  onTestFinished(() => close.mockRestore());
  store.fault = (_, request) => (request === 'GET a' ? 403 : undefined);
  const reader = await openObject(client, 'a');
  await expect(reader.hash(sha256Of(content))).rejects.toThrow('access denied');
  await reader.close();
  expect(close).toHaveBeenCalledTimes(1);
});

test('a reader without a copy on the disk finds damage in a range that it has verified, and fetches it again', async () => {
  const { store, client } = await open();
  const content = randomBytes(9 * 2 ** 20);
  await putObject(client, 'a', content);
  const before = process.env['XDG_CACHE_HOME'];
  process.env['XDG_CACHE_HOME'] = '/dev/null';
  onTestFinished(() => {
    if (before === undefined) delete process.env['XDG_CACHE_HOME'];
    else process.env['XDG_CACHE_HOME'] = before;
  });
  const reader = await openObject(client, 'a');
  expect(await reader.hash(sha256Of(content))).toBe(sha256Of(content));
  await reader.close();
  let damages = 1;
  store.damage = (_, bytes) => (damages-- > 0 ? Buffer.alloc(bytes.length) : bytes);
  const again = await openObject(client, 'a');
  const into = Buffer.alloc(1000);
  await again.read(into, 8 * 2 ** 20 - 500);
  expect(into.equals(content.subarray(8 * 2 ** 20 - 500, 8 * 2 ** 20 + 500))).toBe(true);
  damages = 10;
  const third = await openObject(client, 'a');
  await expect(third.read(into, 0)).rejects.toThrow('s3://bucket/a is damaged: bytes 0 to 8388608 differ');
  await Promise.all([again.close(), third.close()]);
});

describe('settings', () => {
  const bare = { AWS_CONFIG_FILE: '/nonexistent', AWS_SHARED_CREDENTIALS_FILE: '/nonexistent' };

  test('come from the environment, then from a profile', async () => {
    const folder = temporaryFolder();
    const env = { AWS_CONFIG_FILE: join(folder, 'config'), AWS_SHARED_CREDENTIALS_FILE: join(folder, 'credentials') };
    mkdirSync(folder, { recursive: true });
    writeFileSync(
      env.AWS_CONFIG_FILE,
      '[default]\nregion = eu-central-1\n[profile lab]\nregion=eu-west-3\nendpoint_url = https://lab.example/\ns3 =\n  max_queue_size = 5\n',
    );
    writeFileSync(
      env.AWS_SHARED_CREDENTIALS_FILE,
      '[lab]\naws_access_key_id = LAB\naws_secret_access_key = s\naws_session_token = t\n',
    );
    const lab = storeSettings({ ...env, AWS_PROFILE: 'lab' });
    expect(lab).toMatchObject({ region: 'eu-west-3', endpoint: 'https://lab.example' });
    expect(await lab.keys.get()).toEqual({ accessKeyId: 'LAB', secretAccessKey: 's', sessionToken: 't' });
    expect(lab.keys.source).toBe('the profile lab in ~/.aws');
    expect(storeSettings(env)).toMatchObject({ region: 'eu-central-1', endpoint: undefined });
    expect(() => storeSettings({ ...env, AWS_PROFILE: 'other' })).toThrow('AWS_PROFILE is other, but neither');
    const own = storeSettings({ ...env, AWS_PROFILE: 'lab', AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' });
    expect(await own.keys.get()).toEqual({ accessKeyId: 'a', secretAccessKey: 'b' });
  });

  test('that are missing or wrong are named', async () => {
    await expect(storeSettings(bare).keys.get()).rejects.toThrow('no keys for s3:// were found: set AWS_ACCESS_KEY_ID');
    expect(() => storeSettings({ ...bare, AWS_ACCESS_KEY_ID: 'a' })).toThrow(
      'AWS_ACCESS_KEY_ID is set without AWS_SECRET',
    );
    expect(() => storeSettings({ ...bare, AWS_ENDPOINT_URL: 'storage:9000' })).toThrow('is not an address');
    expect(() => openBucket('s3://', bare)).toThrow('expected s3://BUCKET/PREFIX');
    expect(() => openBucket('s3://b/x', bare)).toThrow('"b" cannot be the name of a bucket: expected 3 to 255 letters');
    expect(() => openBucket('s3://bucket/a/../b', bare)).toThrow('without . and ..');
  });

  test('come from the providers of the AWS SDK, if these are installed, until they expire', async () => {
    const project = temporaryFolder();
    const folder = join(project, 'node_modules/@aws-sdk/credential-providers');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{"main": "index.cjs"}');
    writeFileSync(
      join(folder, 'index.cjs'),
      `let count = 0;
       exports.fromNodeProviderChain = ({ profile }) => async () => {
         if (count === 3) throw new Error('the metadata service does not answer');
         const expiration = new Date(Date.now() + (count === 2 ? 60_000 : 3.6e6));
         return { accessKeyId: profile + ++count, secretAccessKey: 's', sessionToken: 't', expiration };
       };`,
    );
    const before = process.cwd();
    process.chdir(project);
    onTestFinished(() => process.chdir(before));
    const { keys } = storeSettings(bare);
    expect(await keys.get()).toEqual({ accessKeyId: 'default1', secretAccessKey: 's', sessionToken: 't' });
    expect(await keys.get()).toMatchObject({ accessKeyId: 'default1' });
    keys.renew();
    expect(await Promise.all([keys.get(), keys.get()])).toMatchObject(Array(2).fill({ accessKeyId: 'default2' }));
    // The third expire so soon that they are fetched again at once; while this fails, they serve.
    keys.renew();
    expect(await keys.get()).toMatchObject({ accessKeyId: 'default3' });
    expect(await keys.get()).toMatchObject({ accessKeyId: 'default3' });
    keys.renew();
    await expect(keys.get()).rejects.toThrow(PeerError);
  });

  test('the token of temporary keys is sent and signed', async () => {
    const { store, client } = await open({ AWS_SESSION_TOKEN: 'token' });
    await putObject(client, 'a', Buffer.from('x'));
    expect(store.objects.has('a')).toBe(true);
    expect(fakeKeys.accessKeyId).toBe('AKIATEST');
  });
});

test('the parts of a large object are so large that there are at most 10,000', () => {
  const mebibyte = 2 ** 20;
  expect(partBytesFor(1)).toBe(16 * mebibyte);
  expect(partBytesFor(160_000 * mebibyte)).toBe(16 * mebibyte);
  expect(partBytesFor(160_000 * mebibyte + 1)).toBe(17 * mebibyte);
});

test('a web server that answers everything with a page is not an object store', async () => {
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end('<!doctype html><title>Log in</title>');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const env = {
    AWS_ACCESS_KEY_ID: 'A',
    AWS_SECRET_ACCESS_KEY: 'B',
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_CONFIG_FILE: '/none',
  };
  const client = new BucketClient('bucket', storeSettings(env), { retries });
  await expect(hasObjects(client, 'a')).rejects.toThrow(
    's3://bucket: what answers is not an object store. Expected a ListBucketResult, received "<!doctype html>',
  );
  await expect(listUploads(client, 'a')).rejects.toThrow(UserError);
  await expect(putObject(client, 'a', Buffer.from('x'))).rejects.toThrow('its store did not confirm that it has it');
});

test('expired keys that cannot be renewed are the error of one request', async () => {
  const { store, client } = await open({ AWS_SESSION_TOKEN: 'token' });
  store.fault = () => 'ExpiredToken';
  await expect(putObject(client, 'a', Buffer.from('x'))).rejects.toThrow(
    's3://bucket/a: the temporary keys from the environment (AWS_ACCESS_KEY_ID) have expired: fetch new ones',
  );
  expect(store.requests).toHaveLength(1);
});

test('requests that were signed together for another region are all repeated in that of the bucket', async () => {
  const regions: string[] = [];
  const sent = vi.spyOn(HttpClient.prototype, 'send').mockImplementation(async ({ headers }) => {
    const [, region = ''] = /([^/]+)\/s3\/aws4_request/.exec(headers['authorization']!)!;
    regions.push(`${region} ${headers['host']}`);
    if (region === 'eu-west-1') return { status: 200, headers: {}, body: Buffer.from('x') };
    const body = Buffer.from('<Error><Code>AuthorizationHeaderMalformed</Code></Error>');
    return { status: 400, headers: { 'x-amz-bucket-region': 'eu-west-1' }, body };
  });
  // Would end what others are still receiving.
  const closed = vi.spyOn(HttpAgent.prototype, 'destroy');
  onTestFinished(() => [sent, closed].forEach((spy) => void spy.mockRestore()));
  const { AWS_ENDPOINT_URL_S3: _, ...env } = (await FakeStore.open()).env;
  const client = new BucketClient('bucket', storeSettings({ ...env, AWS_REGION: 'us-east-1' }), { retries });
  const answers = await Promise.all(['a', 'b'].map((key) => client.send({ action: 'GET', key })));
  expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  const before = 'us-east-1 bucket.s3.us-east-1.amazonaws.com';
  const after = 'eu-west-1 bucket.s3.eu-west-1.amazonaws.com';
  expect(regions).toEqual([before, before, after, after]);
  expect(closed).not.toHaveBeenCalled();
});

test('no attempt begins late', async () => {
  const store = await FakeStore.open();
  store.fault = () => 503;
  const client = new BucketClient('bucket', storeSettings(store.env), { retries: { ...retries, lastAttemptMs: -1 } });
  await expect(putObject(client, 'a', Buffer.from('x'))).rejects.toThrow('PUT failed 1 time at');
});
