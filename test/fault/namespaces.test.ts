/**
 * A run over machines (network namespaces) whose cables are pulled, plugged in again, slow or lossy. Unlike a process that is
 * killed, a cable that is pulled closes no connection: both ends must find out by themselves. Needs root on Linux.
 */
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import { type Running, set, start, useFolder } from '../e2e/launch.ts';
import { nightlyIt } from '../nightly.ts';
import {
  elastic,
  eventsOf,
  expectSameLosses,
  expectWholeLedger,
  lastStepOf,
  StepClock,
  stepsOf,
  undisturbedLosses,
  until,
} from './elasticRun.ts';
import { type Impairment, Network } from './network.ts';
import { usageOf } from './processUsage.ts';

const folder = useFolder();
const obstacle = await Network.obstacle();
/** Steps that show that a run continues. */
const someSteps = 20;

let network: Network;
/** Run directory of the last run. */
let lastRunDir = '';

/** A coordinator with two workers on machine a, and what joins it from other machines. */
class Run {
  readonly name: string;
  readonly running: Running;
  readonly clock: StepClock;
  readonly guests: Running[] = [];
  readonly #overrides: readonly string[];

  private constructor(name: string, overrides: readonly string[]) {
    this.name = name;
    this.#overrides = overrides;
    lastRunDir = this.runDir;
    const args = ['--listen', `tcp://${network.address('a')}:0`, '--workers', '2', '--run-dir', name];
    this.running = start([...args, ...set(...this.#config(1_000_000))], folder(), {}, network.within('a'));
    this.clock = new StepClock(this.running);
  }

  /** With a worker on each of the machines b and c, all of whom have done a step together. */
  static async ofFour(name: string, ...overrides: readonly string[]): Promise<Run> {
    const run = new Run(name, overrides);
    await run.join('b');
    await run.join('c');
    await run.ranks(4);
    return run;
  }

  get runDir(): string {
    return join(folder(), this.name);
  }

  /** Resolves when the worker is in the run. @returns its command, and its name */
  async join(machine: string): Promise<{ guest: Running; worker: string }> {
    const [, address = ''] = await this.running.printed(/^listening on (\S+)/m);
    const args = ['join', address, '--key', join(this.runDir, 'join.key'), '--wait', '1'];
    const guest = start(args, folder(), {}, network.within(machine));
    this.guests.push(guest);
    const event = await this.event('join', (worker) => isOf(worker, guest));
    return { guest, worker: event.worker! };
  }

  async event(event: string, isOf: (worker: string) => boolean) {
    const find = async () => (await this.events()).find((line) => line.event === event && isOf(line.worker ?? ''));
    await until(async () => (await find()) !== undefined, this.running);
    return (await find())!;
  }

  events() {
    return eventsOf(this.runDir);
  }

  /** What happened to these workers, in order; that an old connection was turned away does not count. */
  async storyOf(...machines: readonly number[]): Promise<string[]> {
    const guests = machines.map((index) => this.guests[index]!);
    const events = (await this.events()).filter(({ worker = '' }) => guests.some((guest) => isOf(worker, guest)));
    return events.map(({ event }) => event).filter((event) => event !== 'fenced');
  }

  /** Resolves when that many ranks have done some steps together. */
  async ranks(count: number): Promise<void> {
    await until(async () => (await lastStepOf(this.runDir))?.ranks.length === count, this.running);
    await this.clock.reached(this.clock.newest + someSteps);
  }

  /** Ctrl-C: the run is complete, computed what an undisturbed one does, and leaves nothing. @returns its standard error */
  async finish(): Promise<string> {
    this.running.process.kill('SIGINT');
    const result = await this.running.finished;
    expect(result.code, result.stderr).toBe(130);
    await Promise.all(this.guests.map(({ finished }) => finished));
    expect(await network.pids()).toEqual([]);
    const steps = await stepsOf(this.runDir);
    expectWholeLedger(steps, steps.length);
    const losses = await undisturbedLosses(this.#config(steps.length), folder(), `${this.name}, undisturbed`);
    expectSameLosses(steps, losses, 1e-4);
    return result.stderr;
  }

  #config(maxSteps: number): string[] {
    const schedule = ['schedule.kind=constant', 'schedule.learningRate=2e-4'];
    // Longer than a busy machine keeps a process waiting.
    const deadline = 'comm.heartbeatTimeoutMs=3000';
    return elastic(maxSteps, 'checkpoint.everySteps=100', deadline, ...schedule, ...this.#overrides);
  }
}

/** Whether it is the worker of this `launch join`. */
function isOf(worker: string, guest: Running): boolean {
  return worker.includes(`-${guest.process.pid}-`);
}

describe.skipIf(obstacle)(`machines${obstacle === undefined ? '' : ` (skipped: ${obstacle})`}`, () => {
  beforeEach(async () => {
    network = await Network.open(['a', 'b', 'c']);
  });

  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') {
      const events = (await eventsOf(lastRunDir)).slice(-60).map((event) => JSON.stringify(event));
      process.stdout.write(`last events:\n${events.join('\n')}\n`);
    }
    await network.close();
    expect(await network.namespaces()).toEqual([]);
  });

  nightlyIt('three of them train together', async () => {
    const run = await Run.ofFour('three machines');
    await run.ranks(4);
    const stderr = await run.finish();
    expect(stderr).not.toMatch(/warning/);
    expect(await Promise.all(run.guests.map(({ finished }) => finished))).toMatchObject([
      { code: 0, stderr: '' },
      { code: 0, stderr: '' },
    ]);
  });

  it('a cable that is pulled for longer than the deadline: the others continue, and the worker comes back', async () => {
    const run = await Run.ofFour('long cut');
    const before = (await usageOf(run.running.process.pid!))!;
    await network.plug('c', 'down');
    const lost = await run.event('lost', () => true);
    expect(lost.reason).toMatch(/has been silent for/);
    await run.ranks(3);
    await network.plug('c', 'up');
    await run.ranks(4);
    // The connection that was cut is not kept.
    await until(async () => (await usageOf(run.running.process.pid!))!.fds <= before.fds, run.running);
    await run.finish();
    expect(await run.storyOf(0)).toEqual(['join']);
    expect(await run.storyOf(1)).toEqual(['join', 'lost', 'join']);
    expect(await run.guests[1]!.finished).toMatchObject({ code: 0 });
  });

  nightlyIt(
    'a worker behind a cut says so and ends when it may wait no longer; another is let in after the mend',
    async () => {
      const run = await Run.ofFour('given up', 'comm.rejoinTimeoutMs=1000');
      await network.plug('c', 'down');
      const { code, stderr } = await run.guests[1]!.finished;
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: expect.stringMatching(/lost the coordinator: the coordinator has been silent for/),
      });
      await run.ranks(3);
      await network.plug('c', 'up');
      await run.join('c');
      await run.ranks(4);
      await run.finish();
      expect(await run.storyOf(0)).toEqual(['join']);
      expect(await run.storyOf(1)).toEqual(['join', 'lost']);
      expect(await run.storyOf(2)).toEqual(['join']);
    },
  );

  nightlyIt('a worker behind a cut that is asked to leave: it does when it reaches the coordinator again', async () => {
    const run = await Run.ofFour('leaves');
    await network.plug('c', 'down');
    await run.event('lost', () => true);
    run.guests[1]!.process.kill('SIGINT');
    await run.guests[1]!.printed(/^leaving after this step/m);
    await network.plug('c', 'up');
    expect(await run.guests[1]!.finished).toMatchObject({ code: 130, stderr: '' });
    await run.ranks(3);
    await run.finish();
    expect(await run.storyOf(1)).toEqual(['join', 'lost', 'join', 'leave']);
  });

  nightlyIt('the cable of the coordinator: its own workers continue, and the others come back', async () => {
    const run = await Run.ofFour('coordinator cut');
    await network.plug('a', 'down');
    await run.ranks(2);
    await network.plug('a', 'up');
    await run.ranks(4);
    await run.finish();
    expect(await run.storyOf(0)).toEqual(['join', 'lost', 'join']);
    expect(await run.storyOf(1)).toEqual(['join', 'lost', 'join']);
  });

  nightlyIt('cuts that are shorter than the deadline are ridden out', async () => {
    const run = await Run.ofFour('short cuts', 'comm.heartbeatTimeoutMs=20000');
    for (const machine of ['a', 'b', 'c']) {
      await network.plug(machine, 'down');
      await after(300); // the fault itself: nothing tells how long it has lasted
      await network.plug(machine, 'up');
      await run.clock.reached(run.clock.newest + someSteps);
    }
    await run.ranks(4);
    await run.finish();
    expect(await run.storyOf(0, 1)).toEqual(['join', 'join']);
  });

  it('two neighbours that reach the coordinator, but not each other: the ring finds it, one of them stays out', async () => {
    const run = await Run.ofFour('isolated', 'comm.stepTimeoutMs=1500');
    for (const machine of ['b', 'c']) await network.isolate(machine, 'on');
    const { reason } = await run.event('warning', () => true);
    expect(reason).toMatch(/sent nothing for 1\.5 s/);
    await run.event('lost', () => true);
    // One end of the cut stays away for a while: the others get on.
    await run.ranks(3);
    for (const machine of ['b', 'c']) await network.isolate(machine, 'off');
    await run.ranks(4);
    await run.finish();
  });

  const impaired = 'a slow or lossy way to a machine, by %s';

  async function trainImpaired(how: Impairment, { skip }: TestContext): Promise<void> {
    await network.impair('c', how).catch((error: Error) => skip(`not possible here: ${error.message.trim()}`));
    const run = await Run.ofFour(`impaired by ${how}`, 'comm.heartbeatTimeoutMs=20000');
    await run.ranks(4);
    if (how === 'tbf') expect(await network.droppedOnTheWay('c')).toBeGreaterThan(0);
    await run.finish();
    expect(await run.storyOf(0, 1)).toEqual(['join', 'join']);
  }

  it.for(['nft'] as const)(impaired, trainImpaired);
  nightlyIt.for(['netem', 'tbf'] as const)(impaired, trainImpaired);
});
