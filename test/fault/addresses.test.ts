/**
 * Machines with several addresses, of both families, some of which lead nowhere: a bridge for containers, which has the same address on
 * every machine. Anyone who joins by a printed command takes part, and two machines that do not reach each other are named. Needs root on Linux.
 */
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Running, set, start, useFolder } from '../e2e/launch.ts';
import { elastic, eventsOf, expectWholeLedger, stepsOf, until } from './elasticRun.ts';
import { Network } from './network.ts';

const folder = useFolder();
const obstacle = await Network.obstacle();
const steps = 10;

let network: Network;

/** A coordinator with a worker on machine a that waits for one more from b and one from c. */
function coordinate(name: string, ...args: readonly string[]): Running {
  const config = elastic(steps, 'comm.heartbeatIntervalMs=500', 'comm.heartbeatTimeoutMs=5000');
  const given = [...args, '--workers', '1', '--min-workers', '3', '--run-dir', name, ...set(...config)];
  return start(given, folder(), {}, network.within('a'));
}

/** `launch join` on a machine. */
function joinFrom(machine: string, address: string, name: string): Running {
  return start(['join', address, '--key', join(folder(), name, 'join.key')], folder(), {}, network.within(machine));
}

/** The run and its guests come to the end of all steps, in which all three took part. @returns what the run said on standard error */
async function finish(name: string, running: Running, guests: readonly Running[]): Promise<string> {
  const result = await running.finished;
  expect(result.code, result.stderr).toBe(0);
  for (const guest of guests) expect(await guest.finished).toMatchObject({ code: 0, stderr: '' });
  const lines = await stepsOf(join(folder(), name));
  expectWholeLedger(lines, steps);
  for (const { ranks } of lines) expect(ranks).toHaveLength(3);
  return result.stderr;
}

describe.skipIf(obstacle)(`machines${obstacle === undefined ? '' : ` (skipped: ${obstacle})`}`, () => {
  beforeEach(async () => {
    network = await Network.open(['a', 'b', 'c'], { manyAddresses: true });
  });

  afterEach(async () => {
    await network.close();
  });

  it('a bridge of containers comes first: the printed command has the shared address, and says which machines do not reach each other', async () => {
    const name = 'IPv4';
    for (const machine of ['b', 'c']) await network.isolate(machine, 'on');
    const running = coordinate(name, '--listen', 'tcp://0.0.0.0:0');
    const [, address = '', port = ''] = await running.printed(
      /^waiting for 2 more: .* join (tcp:\S+:(\d+)) --key \S+$/m,
    );
    expect(address).toBe(`tcp://${network.address('a')}:${port}`);
    await running.printed(new RegExp(`^other addresses of this machine: tcp://172\\.17\\.0\\.1:${port}$`, 'm'));
    const guests = ['b', 'c'].map((machine) => joinFrom(machine, address, name));
    const isNamed =
      /^rank [12] \(pid \d+ on \S+\) cannot reach rank [12] \(pid \d+ on \S+\) at tcp:\/\/10\.77\.0\.[23]:\d+ \(.*: open all TCP ports/;
    const warning = async () => (await eventsOf(join(folder(), name))).find(({ reason }) => isNamed.test(reason));
    await until(async () => (await warning()) !== undefined, running);
    for (const machine of ['b', 'c']) await network.isolate(machine, 'off');
    expect(await finish(name, running, guests)).toContain((await warning())?.reason);
  });

  it('of one run, some join by IPv6 and others by IPv4', async () => {
    const name = 'both';
    const host = `[${network.address6('a')}]`;
    const running = coordinate(name, '--listen', 'tcp://[::]:0', '--advertise', `tcp://${host}:0`);
    const [, six = '', port = ''] = await running.printed(/^waiting for 2 more: .* join '?(tcp:\S+:(\d+))'? --key/m);
    expect(six).toBe(`tcp://${host}:${port}`);
    const four = `tcp://${network.address('a')}:${port}`;
    expect(await finish(name, running, [joinFrom('b', six, name), joinFrom('c', four, name)])).toBe('');
  });
});
