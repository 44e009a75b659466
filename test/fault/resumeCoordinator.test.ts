/**
 * `launch` is killed, in different moments, and resumed: its workers are still there, and nothing is lost or done twice. When they
 * are gone too, it resumes from the newest checkpoint.
 */
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it, vi } from 'vitest';
import { type Running, set, start, useFolder } from '../e2e/launch.ts';
import { nightlyIt } from '../nightly.ts';
import { elastic, eventsOf, expectSameLosses, expectWholeLedger, stepsOf, undisturbedLosses } from './elasticRun.ts';
import { stepMoments, useFaultyWorkers } from './faultyWorker.ts';

const folder = useFolder();
const startFaulty = useFaultyWorkers();
const maxSteps = 100;
// So long workers are waited for when a coordinator takes over: longer than it takes them on a busy machine.
const config = elastic(maxSteps, 'checkpoint.everySteps=40', 'comm.heartbeatTimeoutMs=8000');
let undisturbed: number[] = [];

beforeAll(async () => {
  undisturbed = await undisturbedLosses(config, folder());
});

/** Starts a run and kills it, not its workers, when its output shows the moment. */
async function killedRun(runDir: string, moment: RegExp): Promise<Running> {
  const running = start(['--workers', '3', '--run-dir', runDir, ...set(...config)], folder());
  await running.printed(moment);
  running.process.kill('SIGKILL');
  // Not `finished`, which waits for the workers too: they have its standard output.
  await once(running.process, 'exit');
  return running;
}

async function expectWhole(runDir: string): Promise<void> {
  const steps = await stepsOf(join(folder(), runDir));
  expectWholeLedger(steps, maxSteps);
  expectSameLosses(steps, undisturbed, 1e-4);
}

/** Workers that the second `launch` found are not its children: they end when they hear that the run is over, by themselves. */
async function expectGone(...runs: readonly Running[]): Promise<void> {
  const left = async () => (await Promise.all(runs.map((run) => run.descendants()))).flat();
  await vi.waitFor(async () => expect(await left()).toEqual([]), { timeout: 10_000, interval: 50 });
}

it.each([
  ['in its first steps', /step +3\//],
  ['as a checkpoint is written', /step +40\/\d+ +loss/],
  ['between two checkpoints', /step +71\//],
])('%s: its workers continue from the last committed step, without a checkpoint', async (runDir, moment) => {
  const killed = await killedRun(runDir, moment);
  const resumed = start(['--resume', runDir], folder());
  const result = await resumed.finished;
  expect(result, result.stderr).toMatchObject({ code: 0 });
  expect(result.stdout).toMatch(/looking for local-0000, local-0001, local-0002\n/);
  expect(result.stdout).toMatch(/3 workers ready/);
  await expectWhole(runDir);
  const joins = (await eventsOf(join(folder(), runDir))).filter(({ event }) => event === 'join');
  const pids = joins.map(({ reason }) => /pid \d+/.exec(reason)?.[0]);
  expect(pids).toHaveLength(6);
  expect(new Set(pids).size).toBe(3);
  await expectGone(killed, resumed);
  expect((await readdir(join(folder(), runDir))).filter((name) => name.includes('lock'))).toEqual([]);
});

/** At each of them a message is on its way, or a decision is just made. */
const moments = ['forming', ...stepMoments, 'evaluate', 'snapshot'] as const;
/** Before the first step, with the sums of a step made and not yet committed, committed and not yet applied, and with a state under way. */
const representative: readonly string[] = ['forming', 'beforeCommit', 'afterCommit', 'snapshot'];
const isRepresentative = (moment: string) => representative.includes(moment);
const killedAt = 'killed at a moment of a step, %s: all its workers continue';

it.each(moments.filter(isRepresentative))(killedAt, goesOnAfter);
nightlyIt.each(moments.filter((moment) => !isRepresentative(moment)))(killedAt, goesOnAfter);

async function goesOnAfter(moment: (typeof moments)[number]): Promise<void> {
  const overrides = set(...config, 'eval.everySteps=20', 'eval.batches=2');
  const args = [
    '--listen',
    'tcp://127.0.0.1:0',
    '--no-encrypt',
    '--workers',
    '3',
    '--min-workers',
    '4',
    '--run-dir',
    moment,
  ];
  const running = start([...args, ...overrides], folder());
  const exit = once(running.process, 'exit');
  const [, address = ''] = await running.printed(/launch join (\S+)/);
  const victim = running.process.pid;
  const { child, fault } = startFaulty({ coordinatorAddress: address, signal: 'SIGKILL', moment, victim });
  const { step } = await fault;
  await exit;

  const resumed = start(['--resume', moment, '--no-encrypt'], folder());
  const [result] = await Promise.all([resumed.finished, child.exitCode ?? once(child, 'exit')]);
  expect(result, result.stderr).toMatchObject({ code: 0 });
  expect(child.exitCode).toBe(0);
  const [, from] = /ended at step (\d+): looking for /.exec(result.stdout) ?? [];
  expect(Number(from)).toBeGreaterThanOrEqual(step - 1);
  await expectWhole(moment);
  const joins = (await eventsOf(join(folder(), moment))).filter(({ event }) => event === 'join');
  const pids = new Set(joins.map(({ reason }) => /pid \d+/.exec(reason)?.[0]));
  expect(pids.size, JSON.stringify(joins)).toBe(4);
  await expectGone(running, resumed);
}

it('resumed at another address, where its workers do not look: it says so, and starts others', async () => {
  const run = ['--workers', '2', '--run-dir', 'elsewhere', ...set(...config, 'comm.rejoinTimeoutMs=8000')];
  const killed = start(run, folder());
  await killed.printed(/step +45\//);
  killed.process.kill('SIGKILL');
  await once(killed.process, 'exit');
  const resumed = start(['--resume', 'elsewhere', '--listen', 'tcp://127.0.0.1:0'], folder());
  const result = await resumed.finished;
  expect(result, result.stderr).toMatchObject({ code: 0 });
  expect(result.stderr).toMatch(
    /local-0000, local-0001 look for their coordinator at tcp:\S+, not at tcp:\S+: starting other workers/,
  );
  await expectWhole('elsewhere');
  await expectGone(killed, resumed);
});

it('with its workers: from the newest checkpoint', async () => {
  const killed = await killedRun('all', /step +71\//);
  for (const pid of await killed.descendants()) process.kill(pid, 'SIGKILL');
  while ((await killed.descendants()).length > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  const resumed = start(['--resume', 'all'], folder());
  const result = await resumed.finished;
  expect(result, result.stderr).toMatchObject({ code: 0 });
  expect(result.stdout).toMatch(/resuming .*step-00000040/);
  await expectWhole('all');
  const events = (await eventsOf(join(folder(), 'all'))).map(({ event }) => event);
  for (const event of ['resumed', 'finished']) expect(events).toContain(event);
  expect(await resumed.descendants()).toEqual([]);
});
