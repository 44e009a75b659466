/** Workers that come and go while a run trains: what it computes stays the same. */
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
