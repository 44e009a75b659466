/**
 * What the dashboard costs a run: `npm run -s build && node bench/dashboardCost.mjs [--workers 4] [--pages 10] [--pairs 12] [--seconds 10]`.
 *
 * One run trains all the time with its dashboard. Stretches with pages and stretches without take turns, so that a machine whose
 * speed drifts does so for both. Two kinds of pages: event streams, as a page on another machine is, and pages in headless Chromium
 * (CHROMIUM=path), which compute and draw on the same cores. The server is timed too: the run's own process, per step.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, fstatSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { median } from '../dist/base/statistics.js';

const number = (text) => ({ type: 'string', default: text });
const { values: given } = parseArgs({
  options: { workers: number('4'), pages: number('10'), pairs: number('12'), seconds: number('10') },
});
const [workers, pages, pairs, seconds] = ['workers', 'pages', 'pairs', 'seconds'].map((name) => Number(given[name]));
const launch = join(import.meta.dirname, '..', 'dist', 'cli', 'main.js');
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const folder = mkdtempSync(join(tmpdir(), 'lockstep-dashboard-'));
const metrics = join(folder, 'run', 'metrics.jsonl');

/** Functions that open a number of pages and return a function that closes them. */
const kinds = {
  'event streams': async (url) => {
    const requests = Array.from({ length: pages }, () => get(`${url}api/stream`, (response) => response.resume()));
    for (const request of requests) request.on('error', () => {});
    return () => {
      for (const request of requests) request.destroy();
    };
  },
  'pages in Chromium': async (url) => {
    const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
    for (let i = 0; i < pages; i++) await (await browser.newPage()).goto(url);
    return () => browser.close();
  },
};

const plain = await train([]);
say(`no dashboard: ${described(await measure(plain, 4 * seconds))}`);
await plain.end();

const run = await train(['--dashboard', '0']);
try {
  for (const [name, open] of Object.entries(kinds)) {
    if (name === 'pages in Chromium' && !existsSync(executablePath)) {
      say(`no browser at ${executablePath}: CHROMIUM=… names another`);
      continue;
    }
    const [without, withPages] = [[], []];
    for (let pair = 0; pair < pairs; pair++) {
      // Which comes first takes turns too.
      for (const isOpen of pair % 2 === 0 ? [false, true] : [true, false]) {
        const close = isOpen ? await open(run.url) : () => {};
        await sleep(1_000);
        (isOpen ? withPages : without).push(await measure(run, seconds));
        await close();
      }
    }
    const changes = withPages.map(({ stepMs }, i) => 100 * (stepMs / without[i].stepMs - 1));
    const mean = sum(changes) / pairs;
    const error = Math.sqrt(sum(changes.map((change) => (change - mean) ** 2)) / (pairs - 1) / pairs);
    say(`dashboard, no page: ${described(medianOf(without))}`);
    say(`dashboard, ${pages} ${name}: ${described(medianOf(withPages))}`);
    say(
      `  step time with pages: median ${percent(median(changes))}, mean ${percent(mean)} ± ${error.toFixed(2)}, ${pairs} pairs`,
    );
  }
} finally {
  await run.end();
  rmSync(folder, { recursive: true, force: true });
}

/** Starts a run that trains until `end`. */
async function train(options) {
  rmSync(join(folder, 'run'), { recursive: true, force: true });
  const keys = [
    'train.maxSteps=1000000',
    'train.logEverySteps=1000000',
    'eval.everySteps=0',
    'checkpoint.everySteps=0',
  ];
  const args = [
    '--config',
    'shakespeare-char',
    '--workers',
    String(workers),
    '--run-dir',
    join(folder, 'run'),
    ...options,
  ];
  const child = spawn(process.execPath, [launch, ...args, '--set', 'data.text=builtin', ...keys], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  const closed = new Promise((resolve) => child.once('close', resolve));
  while (stepsSoFar() < 100) {
    if (child.exitCode !== null) throw new Error(`the run ended with ${child.exitCode}:\n${text}`);
    await sleep(100);
  }
  const end = async () => {
    child.kill('SIGINT');
    await closed;
  };
  return { pid: child.pid, url: /http:\/\/\S+/.exec(text)?.[0] ?? '', end };
}

/** Step time, and the processor time of the run's own process, the coordinator and the dashboard in it. */
async function measure({ pid }, seconds) {
  const before = { steps: stepsSoFar(), cpuMs: cpuMs(pid), ms: performance.now() };
  await sleep(1_000 * seconds);
  const [steps, ms] = [stepsSoFar() - before.steps, performance.now() - before.ms];
  return { stepMs: ms / steps, cpuMs: (cpuMs(pid) - before.cpuMs) / steps };
}

/** The newest step in metrics.jsonl; 0 before the first. */
function stepsSoFar() {
  if (!existsSync(metrics)) return 0;
  const file = openSync(metrics, 'r');
  try {
    const tail = Buffer.alloc(1 << 16);
    const from = Math.max(0, fstatSync(file).size - tail.length);
    const text = tail.toString('utf8', 0, readSync(file, tail, 0, tail.length, from));
    return Number([...text.matchAll(/^\{"step":(\d+)/gm)].at(-1)?.[1] ?? 0);
  } finally {
    closeSync(file);
  }
}

/** User and system time of a process, from Linux's /proc: in hundredths of a second. */
function cpuMs(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

function medianOf(measures) {
  return { stepMs: median(measures.map(({ stepMs }) => stepMs)), cpuMs: median(measures.map(({ cpuMs }) => cpuMs)) };
}

function described({ stepMs, cpuMs }) {
  return `${stepMs.toFixed(2)} ms a step, of the run's own process ${cpuMs.toFixed(3)} ms of processor time`;
}

function say(line) {
  process.stdout.write(`${line}\n`);
}

function percent(value) {
  return `${value < 0 ? '' : '+'}${value.toFixed(2)} %`;
}
