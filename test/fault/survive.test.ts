/**
 * A worker that is killed or stopped at any moment of a step: the others continue, and what they compute is what they would have
 * computed with it. How long they stood still is measured and printed, not asserted.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { set, start, useFolder } from '../e2e/launch.ts';
import { nightlyIt } from '../nightly.ts';
import {
  elastic,
  eventsOf,
  expectSameLosses,
  expectWholeLedger,
  StepClock,
  stepsOf,
  undisturbedLosses,
} from './elasticRun.ts';
import { faultyWorker, stepMoments, useFaultyWorkers } from './faultyWorker.ts';

const folder = useFolder();
const startFaulty = useFaultyWorkers();
const maxSteps = 120;
const config = elastic(maxSteps, 'checkpoint.everySteps=20');
const signals = ['SIGKILL', 'SIGSTOP'] as const;
const faults = signals.flatMap((signal) =>
  stepMoments.map((moment) => [`${signal} ${moment}`, signal, moment] as const),
);

const recoveries: { name: string; signal: string; ms: number }[] = [];
let undisturbed: number[] = [];

beforeAll(async () => {
  undisturbed = await undisturbedLosses(config, folder());
});

afterAll(() => {
  for (const signal of signals) {
    const times = recoveries.filter((other) => other.signal === signal).sort((a, b) => a.ms - b.ms);
    if (times.length === 0) continue;
    const at = (share: number) => Math.round(times[Math.ceil(share * times.length) - 1]!.ms);
    process.stdout.write(
      `from ${signal} to the next committed step, ${times.length} faults: ` +
        `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms ` +
        `(${times.map(({ name, ms }) => `${name.slice(signal.length + 1)} ${Math.round(ms)}`).join(', ')})\n`,
    );
  }
});

/** A kill in each phase of a step, and a worker that falls silent while others wait for it, and while none does. */
const representative = [
  'SIGKILL forward',
  'SIGKILL allGather',
  'SIGKILL beforeCommit',
  'SIGKILL optimizer',
  'SIGSTOP reduceScatter',
  'SIGSTOP afterCommit',
];
const isRepresentative = ([name]: (typeof faults)[number]) => representative.includes(name);

it.each(faults.filter(isRepresentative))('%s', survives);
nightlyIt.each(faults.filter((fault) => !isRepresentative(fault)))('%s', survives);

async function survives(name: string, signal: (typeof signals)[number], moment: string): Promise<void> {
  const args = ['--listen', 'tcp://127.0.0.1:0', '--no-encrypt', '--workers', '3', '--run-dir', name];
  const running = start([...args, ...set(...config)], folder());
  const clock = new StepClock(running);
  const [, address = ''] = await running.printed(/^listening on (\S+)/m);
  const { child, fault } = startFaulty({ coordinatorAddress: address, signal, moment });
  const gone = once(child, 'exit').then(() => Date.now());
  const { step, term, timeMs } = await fault;
  const faultMs = signal === 'SIGKILL' ? await gone : timeMs;

  const result = await running.finished;
  expect(result, result.stderr).toMatchObject({ code: 0 });
  expect(await running.descendants()).toEqual([]);
  const steps = await stepsOf(join(folder(), name));
  expectWholeLedger(steps, maxSteps);
  expectSameLosses(steps, undisturbed, 1e-4);
  expect(steps.filter(({ parameterHash }) => parameterHash === undefined)).toEqual([]);
  const lost = (await eventsOf(join(folder(), name))).filter(({ event }) => event === 'lost');
  expect(lost.map((event) => event.worker)).toEqual([faultyWorker]);

  const next = steps.find((line) => line.term > term);
  expect(next?.step, `a step after the fault in step ${step}`).toBeGreaterThanOrEqual(step);
  recoveries.push({ name, signal, ms: clock.seenMs.get(next!.step)! - faultMs });
}
