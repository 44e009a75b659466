/**
 * `launch cluster` on a real Slurm, by the script that `launch cluster --print slurm` writes: what a scheduler does to a job, and that the run
 * survives it. The model takes milliseconds a step; what takes time is Slurm.
 */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { slurmScript } from '../../src/cluster/scripts/slurm.ts';
import { slurmNodes } from '../../src/cluster/slurmNodes.ts';
import { launch, metricsOf, set, tiny, useFolder } from '../e2e/launch.ts';
import { lastStepOf } from '../fault/elasticRun.ts';
import { nightlyIt } from '../nightly.ts';
import { Slurm } from './slurm.ts';

const obstacle = await Slurm.obstacle();
const folder = useFolder();

/** Steps long enough for Slurm to act in the middle of a run. A test sets the last one when it knows where it is. */
const endless = 1_000_000;
const settings = [
  ...tiny,
  ...['schedule.kind=constant', 'schedule.warmupSteps=0', 'checkpoint.everySteps=20', 'train.logEverySteps=100'],
  ...['comm.heartbeatIntervalMs=100', 'comm.heartbeatTimeoutMs=3000', 'comm.rejoinTimeoutMs=3000'],
];

/** Longer than anything that a test waits for on a busy machine. Slurm finds out by itself after a minute that a node is dead. */
const patienceMs = 120_000;

/** Figures for the log: they depend on the machine, so nothing is asserted about them. */
const say = (...lines: readonly string[]) => process.stdout.write(`${lines.join('\n')}\n`);

describe.skipIf(obstacle !== undefined)(`Slurm${obstacle === undefined ? '' : ` (${obstacle})`}`, () => {
  let slurm: Slurm;
  beforeAll(async () => {
    slurm = await Slurm.start(join(folder(), 'slurm'));
  });
  afterAll(() => slurm?.close());

  /** Submits a run of three nodes, whose directory has the name of the job. */
  async function submit(name: string): Promise<{ job: number; runDir: string }> {
    const script = slurmScript({
      ...{ name, nodes: 3, runDir: name, cpus: 1, image: '', memory: undefined, storage: '' },
      program: `${process.execPath} ${join(packageRoot, 'node_modules/.bin/launch')}`,
      // The last step is not among them: the run directory has it.
      trainWords: ['--config', `${name}.yaml`, ...set(...settings)],
    });
    await writeFile(join(folder(), `${name}.yaml`), `train:\n  maxSteps: ${endless}\n`);
    await writeFile(join(folder(), `${name}.sh`), script);
    return { job: await slurm.submit([`${name}.sh`], folder()), runDir: join(folder(), name) };
  }

  const step = async (runDir: string) => (await lastStepOf(runDir))?.step ?? 0;
  const logOf = (name: string, job: number) => readFile(join(folder(), `${name}-${job}.log`), 'utf8').catch(() => '');
  /** Resolves when `condition` holds. @throws Error that says what Slurm knows, if the job has failed or it takes longer than `patienceMs` */
  async function until(name: string, job: number, condition: () => Promise<boolean> | boolean): Promise<void> {
    const deadline = Date.now() + patienceMs;
    for (let i = 1; !(await condition()); i++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (i % 20 !== 0) continue;
      const facts = await slurm.job(job);
      if (/FAIL|CANCELLED|TIMEOUT/.test(facts.state) || Date.now() > deadline) {
        const log = await logOf(name, job);
        throw new Error(`${condition} does not hold\njob ${JSON.stringify(facts)}:\n${log}\n${await slurm.report()}`);
      }
    }
  }

  it('preempted: a checkpoint in time, requeued, resumed at that step; the bits of 3 workers on one machine', async () => {
    const name = 'preempted';
    const { job, runDir } = await submit(name);
    await until(name, job, async () => (await step(runDir)) >= 30);
    await slurm.submit(['--partition=high', '--nodes=4', '--exclusive', '--wrap=sleep 1'], folder());
    const askedMs = Date.now();
    await until(name, job, () => existsSync(join(runDir, 'again')));
    const savedMs = Date.now() - askedMs;
    const saved = await step(runDir);
    say(`preempted: ${savedMs} ms from the other job's submission to the checkpoint of step ${saved}`);
    expect(existsSync(join(runDir, 'checkpoints', `step-${String(saved).padStart(8, '0')}`))).toBe(true);
    await until(name, job, async () => (await slurm.job(job)).restarts === 1);

    const config = join(runDir, 'config.yaml');
    const text = await readFile(config, 'utf8');
    expect(text).toContain(`maxSteps: ${endless}`);
    await writeFile(config, text.replace(`maxSteps: ${endless}`, `maxSteps: ${saved + 20}`));
    await slurm.beginNow(job);
    await until(name, job, async () => (await slurm.job(job)).state === 'COMPLETED');
    expect(await slurm.job(job)).toMatchObject({ restarts: 1, exitCode: '0:0' });
    expect(existsSync(join(runDir, 'again'))).toBe(false);
    expect(await logOf(name, job)).toContain(`(step ${saved})`);

    const local = [
      '--config',
      `${name}.yaml`,
      '--workers',
      '3',
      '--run-dir',
      'local',
      ...set(...settings, `train.maxSteps=${saved + 20}`),
    ];
    expect(await launch(local, folder())).toMatchObject({ code: 0 });
    const bits = async (dir: string) =>
      (await metricsOf(dir)).flatMap((line) => (line.loss === undefined ? [] : [[line.loss, line.parameterHash]]));
    expect(await bits(runDir)).toEqual(await bits(join(folder(), 'local')));
  });

  it('a node is killed: the others continue; node 0 is killed: requeued, resumed', async () => {
    const name = 'killed';
    const { job, runDir } = await submit(name);
    await until(name, job, async () => (await step(runDir)) >= 30);
    expect((await slurm.job(job)).nodes).toBe('n[1-3]');
    await slurm.killNode('n3');
    const [killedMs, killedAt] = [Date.now(), await step(runDir)];
    await until(name, job, async () => (await lastStepOf(runDir))!.ranks.length === 2);
    say(`a node is killed after step ${killedAt}: two workers commit after ${Date.now() - killedMs} ms`);
    await slurm.markDown('n3');
    await until(name, job, async () => (await slurm.job(job)).nodes === 'n[1-2]');
    const downAt = await step(runDir);
    await until(name, job, async () => (await step(runDir)) > downAt);
    expect(await slurm.job(job)).toMatchObject({ state: 'RUNNING', restarts: 0 });

    await slurm.restartNode('n3');
    await slurm.killNode('n1');
    await slurm.markDown('n1');
    const lostMs = Date.now();
    await until(name, job, async () => (await slurm.job(job)).restarts === 1);
    say(`node 0 is killed: requeued after ${Date.now() - lostMs} ms`);
    const stopped = await step(runDir);
    await slurm.beginNow(job);
    const resumedAt = async () => Number(/resuming \S+ \(step (\d+)\)/.exec(await logOf(name, job))?.[1] ?? -1);
    await until(name, job, async () => (await step(runDir)) > (await resumedAt()) && (await resumedAt()) >= 0);
    await until(name, job, async () => (await lastStepOf(runDir))!.ranks.length === 3);
    say(`it trains again after ${Date.now() - lostMs} ms, from step ${await resumedAt()}; it had come to ${stopped}`);
    expect(await slurm.job(job)).toMatchObject({ state: 'RUNNING', restarts: 1 });
    // The newest checkpoint: every 20 steps.
    expect(stopped - (await resumedAt())).toBeLessThan(40);
  });

  nightlyIt('node 0 dies after another node; its host answers, and Slurm itself finds it dead: requeued', async () => {
    const name = 'unheard';
    const { job, runDir } = await submit(name);
    await until(name, job, async () => (await step(runDir)) >= 30);
    const nodes = slurmNodes((await slurm.job(job)).nodes);
    await slurm.killNode(nodes[2]!);
    await until(name, job, async () => (await lastStepOf(runDir))!.ranks.length === 2);
    await slurm.killNode(nodes[0]!);
    const lostMs = Date.now();
    await until(name, job, async () => (await slurm.job(job)).restarts === 1);
    say(`node 0 is killed, and Slurm finds it out: requeued after ${Date.now() - lostMs} ms`);
    await slurm.run(['scancel', String(job)]);
    for (const node of [nodes[0]!, nodes[2]!]) await slurm.restartNode(node);
  });
});
