import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { processOf } from '../../../src/base/processes.ts';
import { readRun } from '../../../src/records/runRecord.ts';
import { emitWarning, findCheckpoint } from '../../../src/run/findCheckpoint.ts';
import { existingRunFolder, newRunFolder, RunFolder, runsHint } from '../../../src/run/runFolder.ts';

const note = () => {};
let cwd = '';
beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'lockstep-runs-'));
});
afterEach(() => rm(cwd, { recursive: true, force: true }));

async function makeRun(name: string, changed: number, metrics = '{"step":1}\n'): Promise<string> {
  const path = join(cwd, 'runs', name);
  await mkdir(path, { recursive: true });
  await writeFile(join(path, 'config.yaml'), '');
  await writeFile(join(path, 'metrics.jsonl'), metrics);
  await utimes(join(path, 'metrics.jsonl'), changed, changed);
  return path;
}

it('names a run after its config, and counts further ones', async () => {
  expect((await newRunFolder(undefined, 'v1.5', cwd)).path).toBe(join(cwd, 'runs/v1.5'));
  await makeRun('v1.5', 1);
  expect((await newRunFolder(undefined, 'v1.5', cwd)).path).toBe(join(cwd, 'runs/v1.5-2'));
});

it('refuses a directory that holds a run', async () => {
  const path = await makeRun('mine', 1);
  await expect(newRunFolder(path, 'x', cwd)).rejects.toThrow(/already holds a run: continue it with resume/);
});

it('resumes the run that was written to last', async () => {
  await makeRun('older', 100);
  const newer = await makeRun('newer', 200);
  expect((await existingRunFolder(undefined, cwd)).path).toBe(newer);
  await expect(existingRunFolder('nosuch', cwd)).rejects.toThrow(
    /is not a run directory.*\. Your runs: runs\/\w+, runs\/\w+$/,
  );
});

const commands: [string, (path: string) => Promise<unknown>][] = [
  ['resume', (path) => existingRunFolder(path, cwd)],
  ['generate', (path) => findCheckpoint({ path, cwd, verify: 'model', onWarning: () => {} })],
  ['plot', (path) => readRun(join(cwd, path), (absent) => runsHint(absent, cwd))],
];

it.each(commands)('%s suggests the run whose name is nearest, as a path that can be typed', async (_, open) => {
  await makeRun('shakespeare', 100);
  await makeRun('quickstart', 200);
  await expect(open('runs/shakespaere')).rejects.toThrow(
    /runs\/shakespaere.*\. Your runs: runs\/quickstart, runs\/shakespeare\. Did you mean runs\/shakespeare\?$/,
  );
});

it('quotes a suggestion that a shell would split', async () => {
  await makeRun('with space', 100);
  await expect(existingRunFolder('runs/with_space', cwd)).rejects.toThrow(/Did you mean 'runs\/with space'\?$/);
});

it('a program is warned of the same thing once', () => {
  const emit = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
  for (const message of ['a slow engine', 'a damaged checkpoint', 'a slow engine']) emitWarning(message);
  expect(emit.mock.calls).toEqual([
    ['a slow engine', 'LockstepWarning'],
    ['a damaged checkpoint', 'LockstepWarning'],
  ]);
  emit.mockRestore();
});

it('resumes no run that ended before its first step', async () => {
  const trained = await makeRun('trained', 100);
  await makeRun('untrained', 200, '');
  expect((await existingRunFolder(undefined, cwd)).path).toBe(trained);
});

it('tells who names a checkpoint which directory to resume', async () => {
  const run = await makeRun('mine', 1);
  const message = `It is inside a run: use resume ${run}`;
  await expect(existingRunFolder('runs/mine/checkpoints/step-00000001', cwd)).rejects.toThrow(message);
  await expect(existingRunFolder('runs/mine/checkpoints', cwd)).rejects.toThrow(message);
});

it('makes every folder above it, and says where one cannot be made', async () => {
  const folder = await newRunFolder('a/b/c', 'x', cwd);
  await folder.claim(note);
  expect(await readdir(join(cwd, 'a/b/c'))).toEqual(['run.lock']);
  const below = await newRunFolder('a/b/c/run.lock/d', 'x', cwd);
  await expect(below.claim(note)).rejects.toThrow(/cannot make the run directory .*run\.lock\/d: .*\(ENOTDIR\)/);
});

it('begins no run where another one began since the place was chosen', async () => {
  const [first, second] = [await newRunFolder('run', 'x', cwd), await newRunFolder('run', 'x', cwd)];
  await first.claim(note);
  await first.writeConfig('model: {}\n');
  await first.release();
  await expect(second.claim(note)).rejects.toThrow(/another run started in .*run at the same time/);
  expect(await readdir(first.path)).toEqual(['config.yaml']);
});

it('says that there is nothing to resume', async () => {
  await expect(existingRunFolder(undefined, cwd)).rejects.toThrow(/no run to resume/);
});

it('is claimed by one living process at a time', async () => {
  const folder = await newRunFolder('run', 'x', cwd);
  await folder.claim(note);
  await expect(new RunFolder(folder.path).claim(note)).rejects.toThrow(/^this process is training in/);
  const lock = (owner: object) =>
    writeFile(join(folder.path, 'run.lock'), `${JSON.stringify({ ...owner, claim: 'x' })}\n`);
  await lock(processOf(process.ppid));
  await expect(new RunFolder(folder.path).claim(note)).rejects.toThrow(
    new RegExp(`^process ${process.ppid} is training in .*run \\(.*run\\.lock says so\\)`),
  );
  // A process that was killed leaves its lock; nobody has a pid beyond the kernel's limit.
  await lock(processOf(99_999_999));
  const next = new RunFolder(folder.path);
  await next.claim(note);
  await next.release();
  expect(await readdir(folder.path)).toEqual([]);
});

it('says when another process has taken it', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  try {
    const folder = await newRunFolder('run', 'x', cwd);
    await folder.claim(note);
    const owner = `${JSON.stringify({ ...processOf(), host: 'elsewhere', claim: 'x' })}\n`;
    await writeFile(join(folder.path, 'run.lock'), owner);
    vi.advanceTimersByTime(60_000);
    await expect(folder.lost).rejects.toThrow(
      new RegExp(`^process ${process.pid} on elsewhere has taken .*run, since this process`),
    );
    await folder.release();
    expect(await readFile(join(folder.path, 'run.lock'), 'utf8')).toBe(owner);
  } finally {
    vi.useRealTimers();
  }
});
