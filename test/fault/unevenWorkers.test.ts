/** One worker is much slower than the other: with shares in proportion to speed it gets fewer samples, and sets the pace no more. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { set, start, useFolder } from '../e2e/launch.ts';
import { elastic, expectSameLosses, expectWholeLedger, type StepLine, stepsOf } from './elasticRun.ts';

const folder = useFolder();
const script = fileURLToPath(new URL('./slowWorker.mjs', import.meta.url));
const maxSteps = 40;
const slow = 'a-slow';

/** Steps of a run of one local worker and one that takes `msPerSample` longer for each sample. */
async function unevenRun(split: string, msPerSample: number): Promise<StepLine[]> {
  const runDir = `${split}-${msPerSample}`;
  const args = ['--listen', 'tcp://127.0.0.1:0', '--no-encrypt', '--workers', '1', '--min-workers', '2'];
  const overrides = set(...elastic(maxSteps, `train.batchSplit=${split}`, 'comm.heartbeatTimeoutMs=8000'));
  const running = start([...args, '--run-dir', runDir, ...overrides], folder());
  const [, coordinatorAddress] = await running.printed(/launch join (\S+)/);
  const options = JSON.stringify({ id: slow, coordinatorAddress, msPerSample });
  const child = spawn(process.execPath, [script, options], { stdio: 'inherit' });
  const [result] = await Promise.all([running.finished, once(child, 'exit')]);
  expect(result, result.stderr).toMatchObject({ code: 0 });
  expect(child.exitCode).toBe(0);
  const steps = await stepsOf(join(folder(), runDir));
  expectWholeLedger(steps, maxSteps);
  return steps;
}

/** Samples of the slow worker, which is rank 0, in each of the last steps. */
const sharesOf = (steps: readonly StepLine[]) =>
  steps.slice(-10).map(({ ranks }) => ranks.find(({ rank }) => rank === 0)!.sampleCount);

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

it('shares in proportion to speed: the same losses, and the slow worker gets the least there is to do', async () => {
  const equal = await unevenRun('equal', 30);
  const proportional = await unevenRun('proportional', 30);
  expect(new Set(sharesOf(equal))).toEqual(new Set([6]));
  expect(Math.max(...sharesOf(proportional))).toBeLessThan(4);
  expectSameLosses(
    proportional,
    equal.map(({ loss }) => loss),
    1e-4,
  );
  const speed = (steps: readonly StepLine[]) => median(steps.slice(-20).map(({ tokensPerSecond }) => tokensPerSecond));
  process.stdout.write(
    `one of two workers 30 ms slower a sample: ${Math.round(speed(equal))} tokens/s with equal shares, ` +
      `${Math.round(speed(proportional))} with proportional ones; its samples of 12: ${median(sharesOf(equal))}, ${median(sharesOf(proportional))}\n`,
  );
});
