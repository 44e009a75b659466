// A server under load: thousands of requests, a chosen number at a time, and the memory of the server meanwhile.
// A tenth of the clients disconnects early, a tenth sends invalid requests, the others compare their text with that of the same seed.
//
//   npm run build && node bench/serve/load.mjs runs/quickstart [requests] [at once]
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const [checkpoint, requestCount = '10000', atOnce = '50'] = process.argv.slice(2);
if (checkpoint === undefined) throw new Error('expected a checkpoint: node bench/serve/load.mjs runs/quickstart');
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const command = [main, 'serve', checkpoint, '--port', '0', '--queue', atOnce];
const server = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'inherit'] });
const ended = once(server, 'exit');
const seeds = 40;
const expected = new Map();
let url;
const counts = { whole: 0, left: 0, refused: 0 };

function post(body, signal) {
  const headers = { 'content-type': 'application/json' };
  return fetch(url, { method: 'POST', headers, body: JSON.stringify(body), signal });
}

/** The text of each seed must be the same every time, whatever else the server does. */
async function complete(i) {
  const seed = i % seeds;
  const response = await post({ prompt: 'the ', seed, max_tokens: 8 + seed, stream: i % 2 === 0 });
  const body = await response.text();
  if (response.status !== 200) throw new Error(`status ${response.status}: ${body}`);
  const events = i % 2 === 0 ? body.split('\n\n').filter((line) => line.startsWith('data: {')) : [`data: ${body}`];
  const text = events.map((event) => JSON.parse(event.slice('data: '.length)).choices[0].text).join('');
  if (expected.has(seed) && expected.get(seed) !== text) throw new Error(`seed ${seed}: another text than before`);
  expected.set(seed, text);
  counts.whole++;
}

async function leaveEarly() {
  const abort = new AbortController();
  const response = await post({ prompt: 'the ', max_tokens: 60_000, stream: true }, abort.signal);
  await response.body.getReader().read();
  abort.abort();
  counts.left++;
}

async function sendNonsense(i) {
  const response = await post({ prompt: 'the ', max_tokens: -i });
  if (response.status !== 400) throw new Error(`expected status 400, received ${response.status}`);
  await response.arrayBuffer();
  counts.refused++;
}

function residentMb() {
  const [, kb] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'));
  return Math.round(Number(kb) / 1024);
}

let next = 1;
async function client() {
  for (let i = next++; i <= Number(requestCount); i = next++) {
    if (i % 10 === 0) await leaveEarly();
    else if (i % 10 === 5) await sendNonsense(i);
    else await complete(i);
    if (i % (Number(requestCount) / 10) === 0) {
      process.stdout.write(
        `${i} requests, ${((performance.now() - startMs) / 1000).toFixed(0)} s: ${residentMb()} MB resident\n`,
      );
    }
  }
}

/** The address that the server prints. */
async function started() {
  let printed = '';
  server.stdout.setEncoding('utf8').on('data', (text) => {
    printed += text;
  });
  while (!/http:\S+/.test(printed)) {
    const first = await Promise.race([once(server.stdout, 'data'), ended.then(() => undefined)]);
    if (first === undefined) throw new Error('the server has ended');
  }
  return new URL('/v1/completions', /http:\S+/.exec(printed)[0]);
}

let startMs = 0;
try {
  url = await started();
  startMs = performance.now();
  process.stdout.write(`at the start: ${residentMb()} MB resident\n`);
  await Promise.all(Array.from({ length: Number(atOnce) }, client));
  const health = await (await fetch(new URL('/health', url))).json();
  process.stdout.write(`${JSON.stringify(counts)}, then ${JSON.stringify(health)}\n`);
} finally {
  server.kill('SIGTERM');
  await ended;
}
