import { once } from 'node:events';
import { appendFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import type { IndexedUpdate } from '../../../src/dashboard/runUpdate.ts';
import { RunView } from '../../../src/dashboard/runView.ts';
import { Dashboard } from '../../../src/dashboard/server.ts';
import { UpdateEncoder } from '../../../src/dashboard/updateEncoder.ts';

let folder = '';
let dashboard: Dashboard | undefined;
const warnings: string[] = [];
beforeEach(async () => {
  warnings.length = 0;
  folder = await mkdtemp(join(tmpdir(), 'lockstep-dashboard-'));
});
afterEach(async () => {
  await dashboard?.close();
  dashboard = undefined;
  await rm(folder, { recursive: true });
});

const stepLine = (step: number, loss = 3) =>
  JSON.stringify({
    step,
    loss,
    lr: 1e-3,
    gradNorm: 1.5,
    tokens: step * 100,
    term: 1,
    tokensPerSecond: 1_000,
    ranks: [0, 1].map((rank) => {
      const times = { dataWaitMs: 1, forwardBackwardMs: 6, ringWaitMs: 2, commitWaitMs: 0.5, optimizerMs: 0.5 };
      return { rank, sampleFrom: rank, sampleCount: 1, ...times, ringBytesSent: 4_000 };
    }),
  });

async function writeRun(name: string, steps: number): Promise<string> {
  const path = join(folder, name);
  await mkdir(path);
  await writeFile(join(path, 'config.yaml'), 'train:\n  maxSteps: 500\n');
  const lines = Array.from({ length: steps }, (_, i) => `${stepLine(i + 1)}\n`);
  await writeFile(join(path, 'metrics.jsonl'), lines.join(''));
  return path;
}

async function open(runDirs: readonly string[], host = '127.0.0.1'): Promise<URL> {
  const onWarning = (message: string) => warnings.push(message);
  dashboard = await Dashboard.open({ runDirs, host, port: 0, intervalMs: 20, onWarning });
  return new URL(dashboard.url);
}

/** Follows the event stream until `until` says that it has come; the updates so far. */
async function follow(
  url: URL,
  until: (updates: IndexedUpdate[]) => boolean | Promise<boolean>,
): Promise<IndexedUpdate[]> {
  const response = await fetch(new URL('/api/stream', url));
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  const updates: IndexedUpdate[] = [];
  let text = '';
  const decoder = new TextDecoder();
  for await (const bytes of response.body!) {
    text += decoder.decode(bytes as Uint8Array, { stream: true });
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const data = /^data: (.*)$/m.exec(text.slice(0, end))?.[1];
      if (data !== undefined) updates.push(...(JSON.parse(data) as IndexedUpdate[]));
      text = text.slice(end + 2);
    }
    if (await until(updates)) break;
  }
  return updates;
}

describe('the dashboard', () => {
  it('tells a page all of a run, then what is new, and replaces everything when the run goes back', async () => {
    const run = await writeRun('a', 3);
    const url = await open([run]);
    const said = new Set<string>();
    const once = async (name: string, action: () => Promise<void>) => {
      if (said.has(name)) return;
      said.add(name);
      await action();
    };
    const updates = await follow(url, async (all) => {
      const points = () => all.at(-1)?.points.at(-1);
      if (all.length >= 1)
        await once('grow', () =>
          appendFile(
            join(run, 'metrics.jsonl'),
            `${stepLine(4, 2)}\n{"step":3,"valLoss":2.5}\n{"step":4,"valLoss":2.75}\n`,
          ),
        );
      if (points()?.step === 4) {
        await once('event', () =>
          appendFile(
            join(run, 'events.jsonl'),
            '{"time":"2026-01-01T00:00:00Z","event":"lost","reason":"rank 1 was killed","step":4}\n',
          ),
        );
      }
      if (all.at(-1)?.events?.length === 1)
        await once('back', () => writeFile(join(run, 'metrics.jsonl'), `${stepLine(1, 9)}\n`));
      return said.has('back') && all.at(-1)?.reset === true;
    });
    const [first] = updates;
    expect(first).toMatchObject({ name: 'a', index: 0, reset: true, after: 0, maxSteps: 500, isRunning: false });
    // Nobody knows the limit of the machine.
    expect(first?.points.map(({ mfu }) => mfu)).toEqual([null, null, null]);
    expect(first?.points.map(({ step, ringBytesPerSecond }) => [step, ringBytesPerSecond])).toEqual([
      [1, 400_000],
      [2, 400_000],
      [3, 400_000],
    ]);
    expect(first).toMatchObject({ newest: { step: 3, ranks: [{ rank: 0 }, { rank: 1 }] }, tokensPerSecond: 1_000 });
    const grown = updates.find(({ points }) => points.at(-1)?.step === 4);
    // The last point may have grown: it comes again.
    expect(grown).toMatchObject({ reset: false, after: 2 });
    expect(grown?.points.map(({ step, loss }) => [step, loss])).toEqual([
      [3, 3],
      [4, 2],
    ]);
    const evaluated = updates.find(({ validations }) => validations?.length === 2);
    expect(evaluated).toMatchObject({
      validations: [
        { step: 3, valLoss: 2.5 },
        { step: 4, valLoss: 2.75 },
      ],
      best: { step: 3, valLoss: 2.5 },
    });
    expect(updates.at(-1)).not.toHaveProperty('best');
    expect(updates.at(-1)?.points.map(({ step, loss }) => [step, loss])).toEqual([[1, 9]]);
  });

  it('serves its page, its scripts and nothing else; no page of another site may use it', async () => {
    const url = await open([await writeRun('a', 1)]);
    const page = await fetch(url);
    expect(await page.text()).toContain('<title>Lockstep</title>');
    const policy = page.headers.get('content-security-policy');
    expect(policy).toMatch(/default-src 'none'/);
    expect(policy).not.toMatch(/http|\*/);
    for (const path of ['/base.css', '/page.css', '/uplot.js', '/uplot.css'])
      expect((await fetch(new URL(path, url))).status, path).toBe(200);
    for (const path of ['/../package.json', '/%2e%2e/package.json', '/run.key', '/api/nothing']) {
      expect((await fetch(new URL(path, url))).status, path).toBe(404);
    }
    expect((await fetch(url, { method: 'POST', body: 'x' })).status).toBe(405);
    const foreign = await new Promise<number | undefined>((resolve, reject) => {
      const options = { host: url.hostname, port: url.port, path: '/api/config', headers: { host: 'evil.example' } };
      request(options, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end();
    });
    expect(foreign).toBe(403);
    const statusFor = async (headers: Record<string, string>) => {
      const response = await fetch(new URL('/api/stream', url), { headers });
      await response.body?.cancel();
      return response.status;
    };
    expect(await statusFor({ origin: 'http://evil.example' })).toBe(403);
    expect(await statusFor({ origin: `http://127.0.0.1:${Number(url.port) + 1}` })).toBe(403);
    expect(await statusFor({ origin: url.origin })).toBe(200);
    expect(await (await fetch(new URL('/api/config', url))).json()).toEqual([
      { name: 'a', config: 'train:\n  maxSteps: 500\n' },
    ]);
  });

  it('asks for its token where it listens on more than loopback', async () => {
    const url = await open([await writeRun('a', 1)], '0.0.0.0');
    expect(url.hostname).toBe('127.0.0.1');
    const elsewhere = new URL(dashboard!.urlElsewhere!);
    expect([elsewhere.port, elsewhere.search]).toEqual([url.port, url.search]);
    expect(elsewhere.hostname).not.toBe('0.0.0.0');
    expect(url.searchParams.get('token')).toMatch(/^[\w-]{24}$/);
    expect((await fetch(new URL('/', url))).status).toBe(403);
    const page = await fetch(url);
    expect(page.status).toBe(200);
    const cookie = page.headers.get('set-cookie')?.split(';')[0] ?? '';
    expect((await fetch(new URL('/metrics', url), { headers: { cookie } })).status).toBe(200);
    expect((await fetch(new URL('/metrics', url))).status).toBe(403);
    const origin = 'http://evil.example';
    expect((await fetch(new URL('/metrics', url), { headers: { cookie, origin } })).status).toBe(403);
    expect((await fetch(new URL('/metrics', url), { headers: { cookie, origin: url.origin } })).status).toBe(200);
  });

  it('has metrics that Prometheus reads', async () => {
    const runs = [await writeRun('a "b"\\c', 2), await writeRun('empty', 0)];
    const url = await open(runs);
    const response = await fetch(new URL('/metrics', url));
    expect(response.headers.get('content-type')).toContain('text/plain; version=0.0.4');
    const families = parseExposition(await response.text());
    expect(families.get('lockstep_step')).toMatchObject({
      type: 'gauge',
      samples: [{ labels: { run: 'a "b"\\c' }, value: 2 }],
    });
    expect(families.get('lockstep_running')?.samples.map(({ value }) => value)).toEqual([0, 0]);
    expect(families.get('lockstep_tokens_total')).toMatchObject({ type: 'counter', samples: [{ value: 200 }] });
    const phases = families.get('lockstep_phase_seconds')?.samples ?? [];
    expect(phases).toHaveLength(10);
    expect(phases).toContainEqual({ labels: { run: 'a "b"\\c', rank: '1', phase: 'forwardBackward' }, value: 0.006 });
    expect(families.get('lockstep_validation_loss')?.samples).toEqual([]);
  });

  it('sends a long run in few points, and holds nothing back for a page that does not read', async () => {
    const run = await writeRun('long', 20_000);
    const url = await open([run]);
    const [first] = await follow(url, (all) => all.length > 0);
    expect(first?.points.length).toBeLessThanOrEqual(4_096);
    expect(first?.points.at(-1)?.step).toBe(20_000);
    // One that connects and reads nothing.
    const slow = request({ host: url.hostname, port: url.port, path: '/api/stream' });
    slow.end();
    await new Promise((resolve) => slow.once('response', (response) => resolve(response.pause())));
    for (let i = 1; i <= 50; i++) {
      await appendFile(join(run, 'metrics.jsonl'), `${stepLine(20_000 + i)}\n`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const seen = await follow(url, (all) => all.at(-1)?.points.at(-1)?.step === 20_050);
    expect(seen.at(-1)?.newest?.step).toBe(20_050);
    slow.destroy();
  });

  it('frees the places of pages that disconnect, also those that wait behind another on one connection', async () => {
    const url = await open([await writeRun('a', 1)]);
    const abort = new AbortController();
    const status = async () => (await fetch(new URL('/api/stream', url), { signal: abort.signal })).status;
    const clients = await Promise.all(
      Array.from({ length: 32 }, async () => {
        const client = connect(Number(url.port), '127.0.0.1');
        client.on('error', () => undefined);
        client.write(`GET /api/stream HTTP/1.1\r\nHost: ${url.host}\r\n\r\n`.repeat(2));
        await once(client, 'data');
        return client;
      }),
    );
    expect(await status()).toBe(503);
    for (const client of clients) client.destroy();
    // One more than the requests that were the first of their connections.
    for (let i = 0; i <= clients.length; i++) await vi.waitFor(async () => expect(await status()).toBe(200), 10_000);
    abort.abort();
  });

  it('reads nothing while nobody looks', async () => {
    const run = await writeRun('a', 0);
    await rm(join(run, 'metrics.jsonl'));
    await mkdir(join(run, 'metrics.jsonl'));
    const url = await open([run]);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(warnings).toEqual([]);
    await fetch(new URL('/metrics', url));
    expect(warnings).toEqual([
      expect.stringMatching(
        /^the dashboard cannot read the run a: cannot read \/.*\/a\/metrics\.jsonl: it is a folder, not a file \(EISDIR\)$/,
      ),
    ]);
  });

  it('tells pages that know the same the same, put together once', async () => {
    const run = new RunView(await writeRun('a', 3));
    const encoder = new UpdateEncoder([run]);
    await run.refresh();
    const first = encoder.encode([]);
    expect(encoder.encode([])).toBe(first);
    expect(encoder.encode(first?.seen ?? [])).toBeUndefined();
    await appendFile(join(run.path, 'metrics.jsonl'), `${stepLine(4)}\n`);
    await run.refresh();
    const second = encoder.encode(first?.seen ?? []);
    expect(JSON.parse(second?.text ?? '')).toMatchObject([{ index: 0, reset: false, newest: { step: 4 } }]);
    expect(encoder.encode([])).not.toBe(second);
  });

  it('says that it ends, and is gone at once although pages are open', async () => {
    const url = await open([await writeRun('a', 1)]);
    const response = await fetch(new URL('/api/stream', url));
    const text = response.text();
    await dashboard?.close();
    expect(await text).toMatch(/event: end\ndata: 0\n\n$/);
    await expect(fetch(url)).rejects.toThrow();
  });

  it('refuses a port that is taken, and an address that this machine does not have, in words', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as { port: number };
    const options = { runDirs: [], onWarning: () => undefined };
    const taken = Dashboard.open({ ...options, host: '127.0.0.1', port });
    await expect(taken).rejects.toThrow(UserError);
    await expect(taken).rejects.toThrow(/port is taken/);
    await expect(Dashboard.open({ ...options, host: '192.0.2.1', port: 0 })).rejects.toThrow(
      /cannot listen on 192\.0\.2\.1/,
    );
    other.close();
  });
});

interface Family {
  type: string;
  readonly samples: { readonly labels: Record<string, string>; readonly value: number }[];
}

/** The rules of the text format in its documentation: HELP and TYPE once before the samples of a family, labels quoted and escaped. */
function parseExposition(text: string): Map<string, Family> {
  expect(text.endsWith('\n')).toBe(true);
  const families = new Map<string, Family>();
  for (const line of text.trimEnd().split('\n')) {
    const type = /^# TYPE ([a-z_]+) (gauge|counter)$/.exec(line);
    if (type) {
      expect(families.has(type[1]!)).toBe(false);
      families.set(type[1]!, { type: type[2]!, samples: [] });
      continue;
    }
    if (/^# HELP [a-z_]+ .+$/.test(line)) continue;
    const sample = /^([a-z_]+)\{(.*)\} (\S+)$/.exec(line);
    expect(sample, line).not.toBeNull();
    const labels = [...sample![2]!.matchAll(/([a-z]+)="((?:[^"\\]|\\.)*)"(?:,|$)/g)].map(([, name, value]) => {
      return [name!, value!.replace(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped))];
    });
    families.get(sample![1]!)!.samples.push({ labels: Object.fromEntries(labels), value: Number(sample![3]) });
  }
  return families;
}
