/** Workers that come and go while a run trains: what it computes stays the same. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { set, start, useFolder } from '../e2e/launch.ts';
import {
  elastic,
  eventsOf,
  expectSameLosses,
  expectWholeLedger,
  StepClock,
  stepsOf,
  undisturbedLosses,
  until,
  workerPids,
} from './elasticRun.ts';

const folder = useFolder();
const maxSteps = 1_200;
const config = elastic(maxSteps, 'checkpoint.everySteps=0');

let undisturbed: number[] = [];
beforeAll(async () => {
  undisturbed = await undisturbedLosses(config, folder());
});

/** The number of connections that a port of this machine has accepted. */
async function connectionsTo(port: number): Promise<number> {
  const isOf = ([, local = '', , state = '']: readonly string[]) => local.endsWith(hex) && state === established;
  const [hex, established] = [`:${port.toString(16).toUpperCase().padStart(4, '0')}`, '01'];
  const lines = (await readFile('/proc/net/tcp', 'utf8')).trim().split('\n');
  return lines.filter((line) => isOf(line.trim().split(/\s+/))).length;
}

/** How many ranks each step had, without repetitions. */
function worldSizes(steps: Awaited<ReturnType<typeof stepsOf>>): number[] {
  return steps.map(({ ranks }) => ranks.length).filter((size, i, all) => size !== all[i - 1]);
}

it('4, then 2, then 3 workers', async () => {
  const name = 'fewer and more';
  const args = ['--listen', 'tcp://127.0.0.1:0', '--no-encrypt', '--workers', '4', '--run-dir', name];
  const running = start([...args, ...set(...config)], folder());
  const clock = new StepClock(running);
  const [, address = ''] = await running.printed(/^listening on (\S+)/m);
  await clock.reached(20);
  const workers = await workerPids(running);
  process.kill(workers.get('local-0001')!, 'SIGTERM');
  process.kill(workers.get('local-0003')!, 'SIGTERM');
  // They end when they have been let go.
  await until(async () => (await workerPids(running)).size === 2);
  const joined = start(['join', address], folder());

  const result = await running.finished;
  expect(result, result.stderr).toMatchObject({ code: 0 });
  expect(await joined.finished).toMatchObject({ code: 0, stderr: '' });
  expect([...(await running.descendants()), ...(await joined.descendants())]).toEqual([]);
  const steps = await stepsOf(join(folder(), name));
  expectWholeLedger(steps, maxSteps);
  expectSameLosses(steps, undisturbed, 1e-4);
  const sizes = worldSizes(steps);
  // The first step may find a worker still starting, and the two need not leave at the same boundary.
  expect(sizes).toContain(4);
  expect(sizes.slice(-2)).toEqual([2, 3]);
  const events = await eventsOf(join(folder(), name));
  const left = events.filter(({ event }) => event === 'leave').map(({ worker }) => worker);
  expect(left.sort()).toEqual(['local-0001', 'local-0003']);
  expect(events.filter(({ event }) => ['lost', 'restart', 'warning'].includes(event))).toEqual([]);
});

it('a worker that is frozen for too long is lost, and joins afresh when it thaws', async () => {
  const name = 'frozen';
  const args = ['--listen', 'tcp://127.0.0.1:0', '--no-encrypt', '--workers', '2', '--run-dir', name];
  const running = start([...args, ...set(...config)], folder());
  const [, address = ''] = await running.printed(/^listening on (\S+)/m);
  const joined = start(['join', address], folder());
  await until(async () => (await stepsOf(join(folder(), name))).at(-1)?.ranks.length === 3);
  const [[worker = '', pid = 0] = []] = await workerPids(joined);
  process.kill(pid, 'SIGSTOP');
  await until(async () => (await eventsOf(join(folder(), name))).some(({ event }) => event === 'lost'));
  process.kill(pid, 'SIGCONT');

  const result = await running.finished;
  expect(result, result.stderr).toMatchObject({ code: 0 });
  expect(await joined.finished).toMatchObject({ code: 0 });
  expect([...(await running.descendants()), ...(await joined.descendants())]).toEqual([]);
  const events = (await eventsOf(join(folder(), name))).filter((event) => event.worker === worker);
  expect(events.map(({ event }) => event).filter((event) => event !== 'fenced')).toEqual(['join', 'lost', 'join']);
  const steps = await stepsOf(join(folder(), name));
  expectWholeLedger(steps, maxSteps);
  expectSameLosses(steps, undisturbed, 1e-4);
  expect(worldSizes(steps).slice(-3)).toEqual([3, 2, 3]);
});

it('four workers that joined with one command share its connection, and continue without it when it is killed', async () => {
  const name = 'one connection';
  const args = ['--listen', 'tcp://127.0.0.1:0', '--no-encrypt', '--workers', '1', '--run-dir', name];
  const running = start([...args, ...set(...config)], folder());
  const [, address = '', port = ''] = await running.printed(/^listening on (\S+:(\d+))/m);
  const joined = start(['join', address, '--workers', '4'], folder());
  let warnings = '';
  joined.process.stderr?.on('data', (chunk: string) => {
    warnings += chunk;
  });
  const ranks = async () => (await stepsOf(join(folder(), name))).at(-1)?.ranks.length;
  await until(async () => (await ranks()) === 5);
  // Those of the local worker and of the command.
  expect(await connectionsTo(Number(port))).toBe(2);
  const pids = await workerPids(joined);
  const [left = '', lost = '', other = ''] = pids.keys();
  process.kill(pids.get(left)!, 'SIGTERM');
  await until(async () => !(await workerPids(joined)).has(left));
  process.kill(pids.get(lost)!, 'SIGKILL');
  // The first has exited so that the command knows that the run continues.
  await until(() => warnings.includes(`worker ${lost} was killed by SIGKILL; it is started again in`));
  await until(async () => (await ranks()) === 3);
  process.kill(joined.process.pid!, 'SIGKILL');
  await until(async () => (await connectionsTo(Number(port))) === 3 && (await ranks()) === 3);
  // The rest of the run would show no more.
  running.process.kill('SIGINT');
  expect(await running.finished).toMatchObject({ code: 130 });
  const steps = await stepsOf(join(folder(), name));
  expectWholeLedger(steps, steps.length);
  expectSameLosses(steps, undisturbed.slice(0, steps.length), 1e-4);
  const events = await eventsOf(join(folder(), name));
  const of = (worker: string) => events.filter((event) => event.worker === worker).map(({ event }) => event);
  expect(of(left)).toEqual(['join', 'leave']);
  expect(of(lost)).toEqual(['join', 'lost']);
  expect(of(other)).toEqual(['join', 'lost', 'join']);
});

it('a worker that joins at a boundary with a checkpoint: the checkpoint is written all the same', async () => {
  const name = 'checkpoints';
  const few = 200;
  const args = ['--listen', 'tcp://127.0.0.1:0', '--no-encrypt', '--workers', '2', '--run-dir', name];
  const running = start([...args, ...set(...elastic(few, 'checkpoint.everySteps=1'))], folder());
  const [, address = ''] = await running.printed(/^listening on (\S+)/m);
  const joined = start(['join', address], folder());
  const result = await running.finished;
  expect(result, result.stderr).toMatchObject({ code: 0, stderr: '' });
  expect(await joined.finished).toMatchObject({ code: 0, stderr: '' });
  const steps = await stepsOf(join(folder(), name));
  expectWholeLedger(steps, few);
  expect(steps.at(-1)?.ranks).toHaveLength(3);
  const written = result.stdout.match(/^step +\d+\/\d+ {2}checkpoint /gm);
  expect(written).toHaveLength(few);
});
