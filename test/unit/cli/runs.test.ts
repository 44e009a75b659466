/** `launch runs`, on directories as runs leave them. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { processWord } from '../../../src/base/processes.ts';
import { setOutput } from '../../../src/cli/output.ts';
import { runsCommand } from '../../../src/cli/runs.ts';
import { RunFolder } from '../../../src/run/runFolder.ts';
import { summarise } from '../../../src/run/runSummary.ts';

const start = process.cwd();
let cwd: string;
let printed: string[];
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-runs-'));
  process.chdir(cwd);
  printed = [];
  const output = { print: (line: string) => void printed.push(line), warn: () => {}, conclude: () => {} };
  const before = setOutput(output);
  return () => setOutput(before);
});
afterEach(() => {
  process.chdir(start);
  rmSync(cwd, { recursive: true });
});

const run = (action: string, ...runs: string[]) =>
  runsCommand.handler({ action, runs, json: false, _: [], $0: 'launch' } as never) as Promise<void>;

const step = (at: number, loss: number) =>
  JSON.stringify({ step: at, loss, lr: 1, gradNorm: 1, tokens: 10 * at, term: 1, ranks: [] });
const evaluation = (at: number, valLoss: number) => JSON.stringify({ step: at, valLoss });
const event = (name: string) => JSON.stringify({ time: '', event: name, reason: '', step: 0, term: 1 });

function make(
  name: string,
  { metrics, events = [] }: { metrics: string[]; events?: string[] },
  changed = 1_000_000,
): void {
  const path = join(cwd, 'runs', name);
  mkdirSync(join(path, 'checkpoints'), { recursive: true });
  writeFileSync(join(path, 'config.yaml'), 'train:\n  maxSteps: 2000\n');
  writeFileSync(join(path, 'metrics.jsonl'), `${metrics.join('\n')}\n`);
  writeFileSync(join(path, 'events.jsonl'), events.map((each) => `${event(each)}\n`).join(''));
  writeFileSync(join(path, 'checkpoints', 'large'), new Uint8Array(3000));
  utimesSync(join(path, 'metrics.jsonl'), changed, changed);
}

it('lists each with its status, steps, losses and size, the newest first', async () => {
  make('older', {
    metrics: [step(1, 4), evaluation(1, 3.5), step(2000, 2), evaluation(2000, 3.75)],
    events: ['term', 'finished'],
  });
  make('newer', { metrics: [step(1, 4), '{"step":2,"lo'], events: ['term'] }, 2_000_000);
  await run('list');
  expect(printed.map((line) => line.replace(/ {2,}/g, '  '))).toEqual([
    'run  status  steps  loss  best validation loss  size  last step (UTC)',
    expect.stringMatching(/^newer {2}killed {2}1\/2,000 {2}4\.0000 {2,}3\.\d KiB {2}1970-01-24 03:33$/),
    expect.stringMatching(
      /^older {2}finished {2}2,000\/2,000 {2}2\.0000 {2}3\.5000 at 1 {2}3\.\d KiB {2}1970-01-12 13:46$/,
    ),
  ]);
});

it.each([
  [['term', 'stopping', 'finished'], 1, 'stopped'],
  [['stopping', 'finished', 'resumed', 'term', 'finished'], 2000, 'finished'],
  [['term', 'failed'], 1, 'failed'],
  [['finished', 'resumed'], 1, 'killed'],
])('after the events %j at step %i it is %s', async (events, at, status) => {
  make('one', { metrics: [step(at, 4)], events });
  expect((await summarise(new RunFolder(join(cwd, 'runs/one')), cwd)).status).toBe(status);
});

it('removes and renames runs, but none that is being trained', async () => {
  for (const name of ['a', 'b', 'c']) make(name, { metrics: [step(1, 4)] });
  await run('name', 'a', 'baseline');
  await run('rm', 'b');
  expect(readdirSync(join(cwd, 'runs')).sort()).toEqual(['baseline', 'c']);
  expect(printed).toEqual(['runs/a is now runs/baseline', 'removed runs/b']);

  const trained = new RunFolder(join(cwd, 'runs/c'));
  await trained.claim(() => {});
  expect((await summarise(new RunFolder(trained.path), cwd)).status).toBe('training');
  await expect(run('rm', 'baseline', 'c')).rejects.toThrow(
    'this process is training in runs/c (runs/c/run.lock says so): it cannot be removed before that ends',
  );
  await expect(run('name', 'runs/c', 'd')).rejects.toThrow('it cannot be renamed before that ends');
  // What was claimed is given back, under its new name, too.
  expect(readdirSync(join(cwd, 'runs/baseline'))).not.toContain('run.lock');
  await trained.release();
});

it('removes a run that is named twice, and what an interrupted rm left, but not what one removes now', async () => {
  for (const name of ['a', 'b']) make(name, { metrics: [step(1, 4)] });
  const { pid: dead } = spawnSync('true');
  const left = [`.removed-${dead}-${processWord(dead)}-01234567`, `.removed-${process.ppid}-01234567-01234567`];
  const going = `.removed-${process.ppid}-${processWord(process.ppid)}-01234567`;
  for (const name of [...left, going]) make(name, { metrics: [] });
  await run('rm', 'a', 'runs/a', 'b');
  expect(readdirSync(join(cwd, 'runs'))).toEqual([going]);
  expect(printed.slice(-2)).toEqual(['removed runs/a', 'removed runs/b']);
});

it('touches no folder but those that a run wrote, and none that it is called in', async () => {
  make('a', { metrics: [step(1, 4)] });
  const before = readdirSync(join(cwd, 'runs/a'));
  writeFileSync(join(cwd, 'config.yaml'), '');
  for (const [action, ...to] of [['rm'], ['name', 'b']] as const) {
    await expect(run(action, '.', ...to)).rejects.toThrow('neither journal.jsonl nor metrics.jsonl found');
    process.chdir('runs/a/checkpoints');
    for (const from of ['..', join(cwd, 'runs/a')]) {
      await expect(run(action, from, ...to)).rejects.toThrow('contains the working folder');
    }
    process.chdir('..');
    await expect(run(action, '.', ...to)).rejects.toThrow('contains the working folder');
    process.chdir(cwd);
  }
  expect(readdirSync(join(cwd, 'runs/a'))).toEqual(before);
});

it('a run that is gone before it is claimed is not made anew', async () => {
  make('a', { metrics: [step(1, 4)] });
  const folder = new RunFolder(join(cwd, 'runs/a'));
  await run('rm', 'a');
  await expect(folder.claim(() => {})).rejects.toThrow('runs/a no longer exists: it was removed or renamed meanwhile');
  expect(existsSync(folder.path)).toBe(false);
});

it.each<[string, string[], string]>([
  ['rm', [], 'expected the runs to remove'],
  ['rm', ['nothing'], 'is not a run directory'],
  ['name', ['a'], 'expected a run and its new name'],
  ['name', ['a', '../b'], 'expected a plain name without slashes'],
  ['name', ['a', '..'], 'expected a plain name without slashes'],
  ['name', ['a', 'b'], 'runs/b already exists'],
  ['list', ['a'], 'give no names'],
])('refuses %s %j', async (action, names, message) => {
  for (const name of ['a', 'b']) make(name, { metrics: [step(1, 4)] });
  await expect(run(action, ...names)).rejects.toThrow(message);
});
