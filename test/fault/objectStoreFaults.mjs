/**
 * Run by objectStore.test.ts in the network of a store. A proxy loses the answer of each request of a checkpoint in turn, or kills the process that
 * sends it; after each, the store must have the old checkpoint or the new one, and nothing else.
 * usage: node objectStoreFaults.mjs LOST SMALL LARGE     loses each LOST-th answer, kills small and large writes at each SMALL-th and LARGE-th request, and prints one line of JSON with what was found
 *        node objectStoreFaults.mjs write DIRECTORY STEP VOCABULARY
 *        node objectStoreFaults.mjs bucket               makes s3://faults
 */
import { spawn } from 'node:child_process';
import { createServer, request as httpRequest } from 'node:http';
import { networkOf } from '../../dist/architecture/registry.js';
import { CheckpointStore } from '../../dist/checkpoint/store.js';
import { openBucket } from '../../dist/objectStore/buckets.js';
import { CachedObject } from '../../dist/objectStore/cachedObject.js';
import { headObject, listObjects, listUploads, putObject } from '../../dist/objectStore/objects.js';
import { RangeCache } from '../../dist/objectStore/rangeCache.js';

const keep = 1;

function contentsAt(step, vocabSize) {
  const modelConfig = {
    ...{
      architecture: 'gpt2',
      vocabSize,
      blockSize: 8,
      nLayer: 1,
      nHead: 2,
      nEmbd: 64,
      dropout: 0,
      bias: true,
      activation: 'gelu',
    },
    ...{ tiedHead: true, labels: [], loraRank: 0, loraAlpha: 16, loraTargets: ['c_attn'] },
  };
  const trainer = { step, seed: 1, data: { sha256: '0'.repeat(64), samplesSeen: 0 }, valLoss: null, config: {} };
  const tensors = networkOf(modelConfig).specs.map(({ name, shape }) => ({ name, shape }));
  return { tensors, modelConfig, tokenizerFiles: { 'tokenizer.json': '{}' }, endOfText: undefined, trainer };
}

async function write(directory, step, vocabSize) {
  const writer = await new CheckpointStore(directory, { keep }).beginWrite(contentsAt(step, vocabSize));
  const values = new Float32Array(writer.expectedBytes / 4).fill(step);
  const bytes = new Uint8Array(values.buffer);
  for (let at = 0; at < bytes.length; at += 2 ** 20) await writer.write(bytes.subarray(at, at + 2 ** 20));
  await writer.commit();
}

if (process.argv[2] === 'write') {
  const [directory, step, vocabSize] = process.argv.slice(3);
  await write(directory, Number(step), Number(vocabSize));
  process.exit(0);
}

const { client } = openBucket('s3://faults');
await client.send({ action: 'PUT', key: '', expected: ['BucketAlreadyOwnedByYou'] });
if (process.argv[2] === 'bucket') process.exit(0);

const direct = process.env.AWS_ENDPOINT_URL_S3;

/** Requests since the last reset, and what happens to number `at` of them. */
const proxy = { count: 0, at: -1, onFault: () => undefined };
const server = createServer((request, response) => {
  const isFaulty = proxy.count++ === proxy.at;
  const { hostname, port } = new URL(direct);
  const { method, url: path, headers } = request;
  const forward = httpRequest({ hostname, port, method, path, headers }, (answer) => {
    if (isFaulty) {
      answer.resume().on('close', () => {
        proxy.onFault();
        request.socket.destroy();
      });
      return;
    }
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  // Swift follows a refused HEAD with a body, which is an error after the answer.
  forward.on('error', () => response.headersSent || request.socket.destroy());
  request.on('error', () => forward.destroy());
  request.pipe(forward);
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const faulty = `http://127.0.0.1:${server.address().port}`;

/** The steps, newest first, as another process finds them. @param isClean a writer has ended well: nothing else may be in the store */
async function stepsIn(directory, isClean) {
  process.env.AWS_ENDPOINT_URL_S3 = direct;
  const store = new CheckpointStore(directory, { keep, onWarning: (text) => problems.push(text) });
  const found = await store.list();
  for (const { step, problem } of found) if (problem !== undefined) problems.push(`step ${step}: ${problem}`);
  const prefix = directory.slice('s3://faults/'.length);
  const uploads = await listUploads(client, prefix);
  if (isClean && uploads.length > 0) problems.push(`${uploads.length} open uploads`);
  const folders = new Set();
  for await (const { key } of listObjects(client, prefix)) folders.add(key.split('/').at(-2));
  if (isClean && folders.size !== found.length)
    problems.push(`objects in ${[...folders]}, checkpoints ${found.map(({ step }) => step)}`);
  const newest = await store.newestWhole();
  const names = newest?.checkpoint.tensors.map(({ name }) => name) ?? [];
  if (newest !== undefined) {
    for await (const chunk of newest.checkpoint.stream('m', names)) {
      const values = new Float32Array(chunk.buffer, chunk.byteOffset, chunk.byteLength / 4);
      if (!values.every((value) => value === newest.checkpoint.step))
        problems.push(`step ${newest.checkpoint.step} has other values`);
    }
  }
  return found.map(({ step }) => step);
}

const problems = [];
const results = { lost: 0, killed: 0, old: 0, new: 0, problems };

const [strideLost, strideSmall, strideLarge] = process.argv.slice(2).map(Number);
// Answers are lost, each in a write of its own.
const small = `s3://faults/${process.pid}/small`;
let step = 10;
await write(small, step, 50);
for (proxy.at = 0; ; proxy.at += strideLost) {
  proxy.count = 0;
  process.env.AWS_ENDPOINT_URL_S3 = faulty;
  step += 10;
  await write(small, step, 50);
  const isOver = proxy.count <= proxy.at;
  const steps = await stepsIn(small, true);
  if (`${steps}` !== `${step}`) problems.push(`answer ${proxy.at} lost: steps ${steps} instead of ${step}`);
  if (isOver) break;
  results.lost += 1;
}

/** Kills a writer when request `at` was carried out. @returns whether it was */
async function kill(directory, next, vocabSize, at) {
  const env = { ...process.env, AWS_ENDPOINT_URL_S3: faulty };
  const child = spawn(process.execPath, [process.argv[1], 'write', directory, next, vocabSize], {
    env,
    stdio: 'inherit',
  });
  const exited = new Promise((done) => child.once('exit', (_, signal) => done(signal)));
  Object.assign(proxy, { count: 0, at, onFault: () => child.kill('SIGKILL') });
  const isKilled = (await exited) === 'SIGKILL';
  proxy.at = -1;
  return isKilled;
}

async function killEvery(directory, vocabSize, stride) {
  let newest = 10;
  await write(directory, newest, vocabSize);
  for (let at = 0; ; at += stride) {
    const next = newest + 10;
    const isKilled = await kill(directory, next, vocabSize, at);
    const steps = await stepsIn(directory, !isKilled);
    const allowed = isKilled ? [`${newest}`, `${next},${newest}`, `${next}`] : [`${next}`];
    if (!allowed.includes(`${steps}`))
      problems.push(`killed at request ${at}: steps ${steps}, expected ${newest} or ${next}`);
    if (!isKilled) return;
    results.killed += 1;
    results[steps[0] === newest ? 'old' : 'new'] += 1;
    // The next writer clears what the killed one left.
    newest = next + 10;
    await write(directory, newest, vocabSize);
    const cleared = await stepsIn(directory, true);
    if (`${cleared}` !== `${newest}`)
      problems.push(`after a kill at request ${at}: steps ${cleared} instead of ${newest}`);
  }
}
await killEvery(`s3://faults/${process.pid}/killed`, 50, strideSmall);
// 19 MB of weights and 38 MB of moments, each in parts.
await killEvery(`s3://faults/${process.pid}/large`, 73_000, strideLarge);

// A range that nobody has fetched, while this process waits.
const content = Buffer.from('0123456789'.repeat(100));
await putObject(client, 'cached', content);
const cache = new RangeCache({ folder: process.env.XDG_CACHE_HOME, bytesMax: 1e6, rangeBytes: 256 });
const facts = await headObject(client, 'cached');
const expected = { sha256: '0'.repeat(64), skip: 0, kind: '' };
const object = new CachedObject(cache, client, { key: 'cached', ...facts, expected, piecesTag: undefined });
const into = Buffer.alloc(300);
object.readSync(into, 200);
if (!into.equals(content.subarray(200, 500))) problems.push('another range was read');

process.stdout.write(`${JSON.stringify(results)}\n`);
process.exit(0);
