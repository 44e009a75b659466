/**
 * The script of `launch cluster --print mpi` on two machines (network namespaces with an sshd each), by the `mpirun` of Open MPI and of
 * MPICH. Needs root on Linux.
 */
import { execFile } from 'node:child_process';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { launch, lossesOf, type Running, set, startProgram, useFolder } from '../e2e/launch.ts';
import { elastic, lastStepOf, StepClock, until } from './elasticRun.ts';
import { Network } from './network.ts';
import { SshMachines, useSshMachines } from './sshMachines.ts';

const run = promisify(execFile);
const folder = useFolder();

/** How each finds the other machine. */
const mpis = {
  openmpi: { mpirun: '/usr/bin/mpirun.openmpi', words: ['--host', 'a,b'] },
  mpich: { mpirun: '/usr/bin/mpirun.mpich', words: ['-hosts', 'a,b'] },
} as const;

async function missing(): Promise<string | undefined> {
  for (const { mpirun } of Object.values(mpis)) {
    if (await access(mpirun).catch(() => true)) return `needs ${mpirun}`;
  }
  return undefined;
}

const obstacle = (await Network.obstacle()) ?? (await SshMachines.obstacle()) ?? (await missing());
const constant = ['schedule.kind=constant', 'checkpoint.everySteps=0'];

const ssh = useSshMachines(folder);

/** Prints the script and runs it on machine a. */
async function startScript(name: keyof typeof mpis, maxSteps: number): Promise<Running> {
  const options = ['cluster', '--run-dir', name, ...set(...elastic(maxSteps, ...constant))];
  const { stdout, code, stderr } = await launch([...options, '--nodes', '2', '--print', 'mpi'], folder());
  expect(code, stderr).toBe(0);
  await writeFile(join(folder(), `${name}.sh`), stdout);
  // Debian has both, each under its own name.
  const bin = join(folder(), `bin-${name}`);
  await mkdir(bin);
  await writeFile(join(bin, 'mpirun'), `#!/bin/sh\nexec ${mpis[name].mpirun} "$@"\n`, { mode: 0o755 });
  const env = {
    PATH: `${bin}:${ssh().machines.env['PATH']}`,
    OMPI_ALLOW_RUN_AS_ROOT: '1',
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1',
  };
  return startProgram([...ssh().machines.within('a'), 'bash', `${name}.sh`, ...mpis[name].words], folder(), env);
}

describe.skipIf(obstacle)(`mpirun${obstacle === undefined ? '' : ` (skipped: ${obstacle})`}`, () => {
  it('ranks on two machines compute what two local workers do; without rank 1 rank 0 continues', async () => {
    const running = await startScript('openmpi', 1_000_000);
    const clock = new StepClock(running);
    await clock.reached(30);
    expect((await lastStepOf(join(folder(), 'openmpi')))?.ranks).toHaveLength(2);
    const { stdout } = await run('ip', ['netns', 'pids', ssh().network.within('b').at(-1)!]);
    for (const pid of stdout.split('\n').filter(Boolean).map(Number)) {
      const { stdout: command } = await run('ps', ['-o', 'comm=', '-p', String(pid)]).catch(() => ({ stdout: '' }));
      if (/^(node|npm|launch)/.test(command)) process.kill(pid, 'SIGKILL');
    }
    await until(async () => (await lastStepOf(join(folder(), 'openmpi')))?.ranks.length === 1, running);
    const alone = clock.newest;
    await clock.reached(alone + 20);
    running.process.kill('SIGTERM');
    const result = await running.finished;
    expect(result.stdout, result.stderr).toMatch(/stopped at step \d+ of 1000000/);

    const mpich = await startScript('mpich', 30);
    const other = await mpich.finished;
    expect(other, other.stderr).toMatchObject({ code: 0 });
    // Nothing but the two sshd stays.
    await until(async () => (await ssh().network.pids()).length === 2);

    const local = await launch(['--workers', '2', '--run-dir', 'local', ...set(...elastic(30, ...constant))], folder());
    expect(local.code).toBe(0);
    const losses = await lossesOf(join(folder(), 'local'));
    expect((await lossesOf(join(folder(), 'openmpi'))).slice(0, 30)).toEqual(losses);
    expect(await lossesOf(join(folder(), 'mpich'))).toEqual(losses);
  });
});
