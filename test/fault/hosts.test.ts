/** `launch cluster --hosts` on machines (network namespaces) with an sshd each. Needs root on Linux. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { launch, lossesOf, type Running, set, start, useFolder } from '../e2e/launch.ts';
import { elastic, lastStepOf, StepClock, until } from './elasticRun.ts';
import { Network } from './network.ts';
import { SshMachines, useSshMachines } from './sshMachines.ts';

const run = promisify(execFile);
const folder = useFolder();
const obstacle = (await Network.obstacle()) ?? (await SshMachines.obstacle());

const ssh = useSshMachines(folder);

/** On machine a. */
function onHosts(hosts: string, runDir: string, overrides: readonly string[], ...more: readonly string[]): Running {
  const args = ['cluster', '--hosts', hosts, '--run-dir', runDir, ...more, ...set(...overrides)];
  return start(args, folder(), ssh().machines.env, ssh().machines.within('a'));
}

/** Processes of `launch join` and of workers on machine b. */
async function onB(): Promise<string[]> {
  const { stdout } = await run('ip', ['netns', 'pids', ssh().network.within('b').at(-1)!]);
  const commands = await Promise.all(
    stdout
      .split('\n')
      .filter(Boolean)
      .map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  );
  return commands.filter((command) => /node/.test(command));
}

describe.skipIf(obstacle)(`hosts${obstacle === undefined ? '' : ` (skipped: ${obstacle})`}`, () => {
  it('two machines compute what one does, and leave nothing; the key is in no argument', async () => {
    const overrides = elastic(40, 'checkpoint.everySteps=0');
    const running = onHosts('a:2,b:2', 'hosts', overrides, '--ring-ports', '6000-6001', '--max-restarts', '7');
    await running.printed(/^step +1\//m);
    const key = JSON.parse(await readFile(join(folder(), 'hosts', 'join.key'), 'utf8')) as { joinSecretKey: string };
    const { stdout: processes } = await run('ps', ['-eww', '-o', 'args']);
    expect(processes).toMatch(/ssh .*join tcp.*--ring-ports=6000-6001.*--max-restarts=7/);
    expect(processes).not.toContain(key.joinSecretKey.slice(0, 12));
    const result = await running.finished;
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(await running.descendants()).toEqual([]);
    expect(await onB()).toEqual([]);
    const local = await launch(['--workers', '4', '--run-dir', 'local', ...set(...overrides)], folder());
    expect(local.code).toBe(0);
    expect(await lossesOf(join(folder(), 'hosts'))).toEqual(await lossesOf(join(folder(), 'local')));
    expect((await lastStepOf(join(folder(), 'hosts')))?.ranks).toHaveLength(4);
  });

  it('without its ssh the workers of a host leave, and the others continue', async () => {
    const running = onHosts('a:2,b:2', 'cut', elastic(1_000_000), '--min-workers', '2');
    const clock = new StepClock(running);
    await until(async () => (await lastStepOf(join(folder(), 'cut')))?.ranks.length === 4, running);
    const { stdout } = await run('ps', ['-eww', '-o', 'pid,args']);
    const ssh = stdout.split('\n').filter((line) => line.includes('/usr/bin/ssh -F') && line.includes(folder()));
    expect(ssh).toHaveLength(1);
    process.kill(Number.parseInt(ssh[0]!, 10), 'SIGKILL');
    await until(async () => (await lastStepOf(join(folder(), 'cut')))?.ranks.length === 2, running);
    await until(async () => (await onB()).length === 0, running);
    await clock.reached(clock.newest + 20);
    running.process.kill('SIGINT');
    const result = await running.finished;
    expect(result).toMatchObject({ code: 130, stderr: expect.stringContaining('b: ssh was ended by SIGKILL') });
  });

  it('a host that cannot be reached ends the start, with the words of ssh', async () => {
    const running = onHosts('a,nowhere.invalid', 'wrong', elastic(5));
    const result = await running.finished;
    expect(result.code).toBe(2);
    expect(result.stderr).toMatch(/nowhere\.invalid: ssh failed: .*Could not resolve hostname nowhere\.invalid/);
    expect(await running.descendants()).toEqual([]);
  });
});
