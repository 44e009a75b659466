/**
 * What a cluster does to a run: a worker starts long before the coordinator, the coordinator's name is unknown, then there is nobody
 * behind it, then it is on another machine. Machines are network namespaces, the name server is a file that each of them sees as
 * /etc/hosts. Needs root on Linux.
 */
import { readFileSync } from 'node:fs';
import { chmod, readFile, writeFile } from 'node:fs/promises';
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
import { Network } from './network.ts';

const folder = useFolder();
const obstacle = await Network.obstacle();
const heartbeatTimeoutMs = 3_000;
const address = 'tcp://run-0.run:5555';
/** The most that a worker which was killed may be away. */
const backWithinMs = 5_000;

let network: Network;

class Machines {
  readonly #hosts: string;
  readonly #keys: RunFolder;
  readonly #name: string;

  private constructor(name: string) {
    this.#name = name;
    this.#hosts = join(folder(), `${name}.hosts`);
    this.#keys = new RunFolder(join(folder(), `${name}.keys`));
  }

  static async open(name: string): Promise<Machines> {
    const machines = new Machines(name);
    await machines.name(undefined);
    await makeKeyFiles(machines.#keys);
    // As Kubernetes mounts a Secret with fsGroup.
    await chmod(machines.#keys.joinKeyPath, 0o440);
    return machines;
  }

  get runDir(): string {
    return join(folder(), this.#name);
  }

  /** The name server knows run-0.run as this machine, or not at all. */
  async name(machine: string | undefined): Promise<void> {
    const line = machine === undefined ? '' : `${network.address(machine)} run-0.run\n`;
    await writeFile(this.#hosts, `127.0.0.1 localhost\n${line}`);
  }

  coordinate(machine: string, ...args: readonly string[]): Running {
    const given = ['--listen', 'tcp://0.0.0.0:5555', ...args];
    return this.#start(machine, given, { LOCKSTEP_RUN_KEY: readFileSync(this.#keys.runKeyPath, 'utf8') });
  }

  join(machine: string, ...args: readonly string[]): Running {
    const given = ['join', address, '--key', this.#keys.joinKeyPath, ...args];
    return this.#start(machine, given, { LOCKSTEP_IFNAME: 'none,eth0' });
  }

  #start(machine: string, args: readonly string[], env: Record<string, string>): Running {
    // `ip netns exec` has made a mount namespace for this process.
    const seeing = ['sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"', this.#hosts];
    return start(args, folder(), env, [...network.within(machine), ...seeing]);
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
    await machines.name('a');
    await joined.printed(/^waiting up to 300 s for tcp:\/\/run-0\.run:5555: nothing answers$/m);
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
    await machines.name(undefined);
    await first.finished;
    const last = (await stepsOf(runDir)).at(-1)!.step;
    await after(1_000 * awaySeconds);

    const second = machines.coordinate('c', '--resume', name);
    const [, found] = await second.printed(/ended at step (\d+): looking for remote-\S+$/m);
    expect(Number(found)).toBeGreaterThanOrEqual(last);
    await second.printed(new RegExp(`^listening on ${address} \\(`, 'm'));
    // The name server is behind by more than a worker may be silent.
    await after(heartbeatTimeoutMs + 500);
    await machines.name('c');
    const [, next] = await second.printed(/^step +(\d+)\//m);
    expect(Number(next)).toBe(Number(found) + 1);
    await until(async () => (await lastStepOf(runDir))?.ranks.length === 2, second);
    expect([...(await workerPids(joined))]).toEqual([[worker, survivor]]);
    expect(await readFile(join(runDir, 'run.key'), 'utf8')).toBe(
      await readFile(join(folder(), `${name}.keys`, 'run.key'), 'utf8'),
    );

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
