/** A run that cannot continue without a worker ends: with an error that names it, in bounded time, and with no process left. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parseRunKeys } from '../../src/comm/runKeys.ts';
import { type Running, set, start, tiny, useFolder } from '../e2e/launch.ts';
import { eventsOf, until } from './elasticRun.ts';

const folder = useFolder();
// A busy machine takes seconds to start three workers, and a frozen one is waited for until the last of these has passed.
const timeouts = ['comm.heartbeatIntervalMs=100', 'comm.heartbeatTimeoutMs=2000', 'comm.joinTimeoutMs=10000'];
const endless = [...tiny, 'train.maxSteps=1000000', ...timeouts];
/** All three are needed, and none is started again. */
const fragile = ['--workers', '3', '--min-workers', '3', '--max-restarts', '0'];

/** The pids of the run's worker processes, in the order of their ids. */
async function workersOf(running: Running): Promise<number[]> {
  const workers: { pid: number; id: string }[] = [];
  for (const pid of await running.descendants()) {
    const [, , options] = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0');
    const { id } = JSON.parse(options ?? '{}') as { id?: string };
    if (id !== undefined) workers.push({ pid, id });
  }
  return workers.sort((a, b) => (a.id < b.id ? -1 : 1)).map(({ pid }) => pid);
}

interface Fault {
  readonly signal: NodeJS.Signals;
  /** Which worker. */
  readonly rank: number;
  /** When standard output shows this. */
  readonly moment: RegExp;
  readonly message: RegExp;
}

const faults: Record<string, Fault> = {
  'killed while its replica is built': {
    signal: 'SIGKILL',
    rank: 1,
    moment: /^data /m,
    message: /launch: ((rank 1|worker local-0001) \(pid \d+ on .+\)|worker local-0001) was killed by SIGKILL/,
  },
  'the first rank, killed while it trains': {
    signal: 'SIGKILL',
    rank: 0,
    moment: /step +3\//,
    message: /launch: rank 0 \(pid \d+ on .+\) was killed by SIGKILL in step \d+ during [a-z-]+/,
  },
  'another rank, killed while it trains': {
    signal: 'SIGKILL',
    rank: 2,
    moment: /step +10\//,
    message: /launch: rank 2 \(pid \d+ on .+\) was killed by SIGKILL in step \d+ during [a-z-]+/,
  },
  'asked to end while it trains': {
    signal: 'SIGTERM',
    rank: 1,
    moment: /step +10\//,
    message: /launch: 2 workers are left, and the run needs 3/,
  },
  'frozen while it trains': {
    signal: 'SIGSTOP',
    rank: 1,
    moment: /step +10\//,
    message:
      /launch: rank 1 \(pid \d+ on .+\) has been silent for 2\.\d s in step \d+ during .+; 2 of 3 workers joined within/,
  },
};

it.each(Object.entries(faults))('%s', async (name, { signal, rank, moment, message }) => {
  const running = start([...fragile, '--run-dir', name, ...set(...endless)], folder());
  await running.printed(moment);
  // The processes exist before the header is printed, but may still be starting.
  let workers: number[] = [];
  while (workers.length < 3) workers = await workersOf(running);
  process.kill(workers[rank]!, signal);
  const result = await running.finished;
  expect(result.code).toBe(1);
  expect(result.stderr).toMatch(message);
  // What the others had computed is saved.
  const [, step] = /\+(\d+)/.exec(String(moment)) ?? [];
  const [, saved] = /continue from step (\d+) with: npx launch --resume/.exec(result.stderr) ?? [];
  if (step === undefined) expect(result.stderr).toMatch(/no checkpoint exists yet/);
  else expect(Number(saved)).toBeGreaterThanOrEqual(Number(step));
  expect(await running.descendants()).toEqual([]);
  const runDir = join(folder(), name);
  expect((await readdir(runDir)).filter((file) => file === 'run.lock')).toEqual([]);
  await expectFlight(runDir, rank, result.stderr);
});

it('stopped while it waits for workers: what the others hold is saved, and a resume continues from there', async () => {
  const args = ['--listen', 'tcp://127.0.0.1:0', '--workers', '2', '--min-workers', '2', '--max-restarts', '0'];
  const long = ['comm.joinTimeoutMs=600000', 'comm.heartbeatIntervalMs=100'];
  const steps = set(...tiny, 'train.maxSteps=1000000', ...long);
  const running = start([...args, '--run-dir', 'waits', ...steps], folder());
  await running.printed(/step +10\//);
  process.kill((await workersOf(running))[1]!, 'SIGKILL');
  await until(async () => (await eventsOf(join(folder(), 'waits'))).some(({ event }) => event === 'lost'));
  running.process.kill('SIGINT');
  const result = await running.finished;
  expect(result).toMatchObject({ code: 130 });
  const [, step] = /checkpoint .*step-0*(\d+)/.exec(result.stdout) ?? [];
  expect(Number(step)).toBeGreaterThanOrEqual(10);
  expect(await running.descendants()).toEqual([]);
  const resumed = start(['--resume', 'waits', ...set(`train.maxSteps=${Number(step) + 5}`)], folder());
  expect(await resumed.finished).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(`resuming .*step-0*${step}\\b`),
  });
});

/** What every process but the lost one did last is written down: what the coordinator decided, and what the workers were told. */
async function expectFlight(runDir: string, lost: number, stderr: string): Promise<void> {
  expect(stderr).toContain(`the last actions of every process are in`);
  const flight = (name: string) => readFile(join(runDir, 'flight', `${name}.jsonl`), 'utf8');
  const coordinator = await flight('coordinator');
  expect(coordinator.split('\n').length).toBeLessThanOrEqual(1_001);
  expect(coordinator).toMatch(
    /"what":"received".*"reason":"[^"]*(was killed by SIGKILL|wants to leave|has been silent)/s,
  );
  expect(coordinator).toMatch(/"what":"failed"[^\n]*\n$/);
  for (const rank of [0, 1, 2]) {
    if (rank === lost) continue;
    // It may have come to join only then.
    expect(await flight(`local-000${rank}`)).toMatch(/"type":"stop".*"failed":true|the run is over/);
  }
  const keys = parseRunKeys(await readFile(join(runDir, 'run.key'), 'utf8'));
  for (const file of await readdir(join(runDir, 'flight'))) {
    const text = await readFile(join(runDir, 'flight', file), 'utf8');
    for (const secret of [keys.token, keys.joinSecretKey, keys.serverSecretKey!]) {
      expect(text.includes(secret), file).toBe(false);
    }
  }
}
