/**
 * What a cluster does to a run: a worker starts long before the coordinator, the coordinator's name is unknown, then there is nobody
 * behind it, then it is on another machine. Machines are network namespaces, the name server is a file that each of them sees as
 * /etc/hosts. Needs root on Linux.
 */
import { readFileSync } from 'node:fs';
import { chmod, chown } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RunFolder } from '../../src/run/runFolder.ts';
import { makeKeyFiles } from '../../src/run/runKeyFiles.ts';
import { type Running, set, start, useFolder } from '../e2e/launch.ts';
import { nightlyIt } from '../nightly.ts';
import {
  elastic,
  eventsOf,
  expectWholeLedger,
  lastStepOf,
  StepClock,
  signal,
  stepsOf,
  until,
  workerPids,
} from './elasticRun.ts';
import { Names } from './names.ts';
import { Network } from './network.ts';

const folder = useFolder();
const obstacle = await Network.obstacle();
const heartbeatTimeoutMs = 3_000;
const address = 'tcp://run-0.run:5555';
/** The most that a worker which was killed may be away. */
const backWithinMs = 5_000;

let network: Network;

/** What one run needs on all machines. */
class Machines {
  readonly names: Names;
  readonly runDir: string;
  readonly #keys: RunFolder;

  private constructor(names: Names, name: string) {
    this.names = names;
    this.runDir = join(folder(), name);
    this.#keys = new RunFolder(join(folder(), `${name}.keys`));
  }

  static async open(name: string): Promise<Machines> {
    const names = await Names.open(network, join(folder(), `${name}.hosts`), 'run-0.run');
    const machines = new Machines(names, name);
    await makeKeyFiles(machines.#keys);
    // As Kubernetes mounts a Secret with fsGroup: another user owns it, and the group of this process may read it.
    await chmod(machines.#keys.joinKeyPath, 0o440);
    await chown(machines.#keys.joinKeyPath, 65_534, process.getgid!());
    return machines;
  }

  /** The contents of the keys that were made before the run. */
  get runKey(): string {
    return readFileSync(this.#keys.runKeyPath, 'utf8');
  }

  /** Its keys are in its environment if it starts, and in a file if it resumes. */
  coordinate(machine: string, ...args: readonly string[]): Running {
    const resumes = args.includes('--resume');
    const given = ['--listen', 'tcp://0.0.0.0:5555', ...(resumes ? ['--run-key', this.#keys.runKeyPath] : []), ...args];
    const environment: Record<string, string> = resumes ? {} : { LOCKSTEP_RUN_KEY: this.runKey };
    return start(given, folder(), environment, this.names.within(machine));
  }

  join(machine: string, ...args: readonly string[]): Running {
    const given = ['join', address, '--key', this.#keys.joinKeyPath, ...args];
    return start(given, folder(), { LOCKSTEP_IFNAME: 'none,eth0' }, this.names.within(machine));
  }
}

describe.skipIf(obstacle)(`machines${obstacle === undefined ? '' : ` (skipped: ${obstacle})`}`, () => {
  beforeEach(async () => {
    network = await Network.open(['a', 'b', 'c']);
  });

  afterEach(async () => {
    await network.close();
    expect(await network.namespaces()).toEqual([]);
  });

  const moved =
    'a worker starts early, is killed, and loses its coordinator, which returns elsewhere after %i s: no step is lost';
  it.each([[6, 5]])(moved, movesOn);
  nightlyIt.each([[20, 60]])(moved, movesOn);

  /** @param awaySeconds without a coordinator @param earlySeconds that the worker starts before it */
  async function movesOn(awaySeconds: number, earlySeconds: number): Promise<void> {
    const name = `away for ${awaySeconds} s`;
    const machines = await Machines.open(name);
    const { runDir } = machines;

    const joined = machines.join('b', '--wait', '300', '--ring-ports', '6000-6003');
    await joined.printed(/^waiting up to 300 s for tcp:\/\/run-0\.run:5555: its name is not known here$/m);
    await after(1_000 * earlySeconds);
    await machines.names.lead('a');
    await joined.printed(/^waiting up to 29\d s for tcp:\/\/run-0\.run:5555: nothing answers$/m);
    const config = elastic(1_000_000, 'checkpoint.everySteps=0', `comm.heartbeatTimeoutMs=${heartbeatTimeoutMs}`);
    const first = machines.coordinate(
      'a',
      ...['--advertise', address, '--workers', '1', '--min-workers', '2', '--run-dir', name],
      ...set(...config),
    );
    const clock = new StepClock(first);
    await clock.reached(20);
    expect((await lastStepOf(runDir))?.ranks).toHaveLength(2);
    expect(await network.listening('b')).toEqual([`${network.address('b')}:6000`]);

    const [[worker = '', pid = 0] = []] = await workerPids(joined);
    const killedMs = Date.now();
    signal(pid, 'SIGKILL');
    const isBack = async () => {
      const events = (await eventsOf(runDir)).filter((event) => event.worker === worker).map(({ event }) => event);
      return events.lastIndexOf('join') > events.indexOf('lost') && events.includes('lost');
    };
    await until(isBack, first);
    const { newest } = clock;
    await until(
      async () => ((await lastStepOf(runDir))?.step ?? 0) > newest && (await lastStepOf(runDir))?.ranks.length === 2,
    );
    const backMs = Date.now() - killedMs;
    process.stdout.write(`a worker that was killed trains again after ${backMs} ms\n`);
    expect(backMs).toBeLessThanOrEqual(backWithinMs);
    await clock.reached(clock.newest + 20);

    // The machine is gone, and with it its name.
    const [, survivor] = [...(await workerPids(joined))][0]!;
    for (const gone of [first.process.pid!, ...(await first.descendants())]) signal(gone, 'SIGKILL');
    await machines.names.lead(undefined);
    await first.finished;
    const last = (await stepsOf(runDir)).at(-1)!.step;
    await after(1_000 * awaySeconds);

    const second = machines.coordinate('c', '--resume', name);
    const [, found] = await second.printed(/ended at step (\d+): looking for remote-\S+$/m);
    expect(Number(found)).toBeGreaterThanOrEqual(last);
    await second.printed(new RegExp(`^listening on ${address} \\(`, 'm'));
    // The name server is behind by more than a worker may be silent.
    await after(heartbeatTimeoutMs + 500);
    await machines.names.lead('c');
    const [, next] = await second.printed(/^step +(\d+)\//m);
    expect(Number(next)).toBe(Number(found) + 1);
    await until(async () => (await lastStepOf(runDir))?.ranks.length === 2, second);
    expect([...(await workerPids(joined))]).toEqual([[worker, survivor]]);
    expect(readFileSync(join(runDir, 'run.key'), 'utf8')).toBe(machines.runKey);

    second.process.kill('SIGINT');
    expect(await second.finished).toMatchObject({ code: 130 });
    expect(await joined.finished).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(
        /^warning: worker \S+ was killed by SIGKILL; it is started again in 0\.3 s \(1 of 10 restarts\)\n$/,
      ),
    });
    const steps = await stepsOf(runDir);
    expectWholeLedger(steps, steps.length);
    expect(await network.pids()).toEqual([]);
  }
});
