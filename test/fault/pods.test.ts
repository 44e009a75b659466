/**
 * `launch cluster` as the pods of an Indexed Job of Kubernetes: with their environment, a name for pod 0 that is known late, a signal and a
 * time to end before a pod is removed, and another address for the pod that replaces it. Machines are network namespaces. Needs root on
 * Linux.
 */
import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RunFolder } from '../../src/run/runFolder.ts';
import { makeKeyFiles } from '../../src/run/runKeyFiles.ts';
import { type Running, set, start, useFolder } from '../e2e/launch.ts';
import { elastic, expectWholeLedger, lastStepOf, signal, stepsOf, until } from './elasticRun.ts';
import { Names } from './names.ts';
import { Network } from './network.ts';

const folder = useFolder();
const obstacle = await Network.obstacle();
/** Time from the signal to the end of a pod's program. Kubernetes kills it after 30 s by default. */
const endsWithinMs = 10_000;

let network: Network;
let names: Names;
let keys: RunFolder;

/** Starts what each pod runs: the same words for all. */
function pod(index: number, machine: string): Running {
  const environment = {
    JOB_COMPLETION_INDEX: String(index),
    LOCKSTEP_NODES: '2',
    MASTER_ADDR: 'train-0.train',
    LOCKSTEP_RUN_KEY: readFileSync(keys.runKeyPath, 'utf8'),
    LOCKSTEP_JOIN_KEY: readFileSync(keys.joinKeyPath, 'utf8'),
  };
  const config = elastic(1_000_000, 'checkpoint.everySteps=0', 'comm.heartbeatTimeoutMs=3000');
  const words = ['cluster', '--run-dir', 'run', ...set(...config)];
  return start(words, folder(), environment, names.within(machine));
}

/** The pod is deleted: it ends by itself, soon enough, and nothing is left for the signal that cannot be refused. */
async function evict(running: Running): Promise<void> {
  const sinceMs = Date.now();
  running.process.kill('SIGTERM');
  const { code, stderr } = await running.finished;
  expect({ code, stderr }).toMatchObject({ code: 85 });
  const endMs = Date.now() - sinceMs;
  process.stdout.write(`a pod that was evicted ended after ${endMs} ms\n`);
  expect(endMs).toBeLessThanOrEqual(endsWithinMs);
  expect(await running.descendants()).toEqual([]);
}

/** Both pods take part in steps after this one. */
async function trains(running: Running, ranks: number, after = 0): Promise<void> {
  const runDir = join(folder(), 'run');
  await until(async () => {
    const last = await lastStepOf(runDir);
    return last !== undefined && last.step > after && last.ranks.length === ranks;
  }, running);
}

describe.skipIf(obstacle)(`pods${obstacle === undefined ? '' : ` (skipped: ${obstacle})`}`, () => {
  beforeEach(async () => {
    network = await Network.open(['a', 'b', 'c']);
    names = await Names.open(network, join(folder(), 'hosts'), 'train-0.train');
    keys = new RunFolder(join(folder(), 'keys'));
    await makeKeyFiles(keys);
  });

  afterEach(async () => {
    await network.close();
    expect(await network.namespaces()).toEqual([]);
  });

  it('are evicted, killed and replaced: the same words continue, with the state of those that are left', async () => {
    const runDir = join(folder(), 'run');
    const newest = async () => (await stepsOf(runDir)).at(-1)!.step;
    const [first, other] = [pod(0, 'a'), pod(1, 'b')];
    await other.printed(/its name is not known here$/m);
    await names.lead('a');
    await trains(first, 2);

    // Pod 0 has the run: the others end with it, and the Job replaces both.
    await evict(first);
    expect(await other.finished).toMatchObject({ code: 85 });
    expect(existsSync(join(runDir, 'again'))).toBe(true);
    const saved = await newest();
    await names.lead(undefined);
    const [second, follower] = [pod(0, 'c'), pod(1, 'b')];
    await names.lead('c');
    await second.printed(new RegExp(`\\(step ${saved}\\)$`, 'm'));
    await trains(second, 2, saved);

    // The machine of pod 0 is gone.
    for (const gone of [second.process.pid!, ...(await second.descendants())]) signal(gone, 'SIGKILL');
    await names.lead(undefined);
    await second.finished;
    const committed = await newest();
    const third = pod(0, 'a');
    const [, found] = await third.printed(/ended at step (\d+): looking for remote-\S+$/m);
    await names.lead('a');
    expect(Number(found)).toBeGreaterThanOrEqual(committed);
    const [, next] = await third.printed(/^step +(\d+)\//m);
    expect(Number(next)).toBe(Number(found) + 1);
    await trains(third, 2, committed);

    for (const worker of [...(await third.descendants()), ...(await follower.descendants())]) {
      expect(await readFile(`/proc/${worker}/environ`, 'latin1')).not.toMatch(/LOCKSTEP_(RUN|JOIN)_KEY/);
    }
    // A pod that only computes leaves alone.
    await evict(follower);
    await trains(third, 1, await newest());
    await evict(third);
    const steps = await stepsOf(runDir);
    expectWholeLedger(steps, steps.length);
    expect(await network.pids()).toEqual([]);
  });
});
