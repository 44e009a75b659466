/** Training on a GPU follows the loss curve of training on the CPU. At night, `scripts/ciWebgpu.sh` runs it on a software driver. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { isNightly } from '../skippedTests.ts';
import { launch, lossesOf, set, useFolder } from './launch.ts';

const steps = 200;
const folder = useFolder();
const isWanted = isNightly && process.env['LOCKSTEP_REQUIRE_WEBGPU'] === '1';

async function train(engine: string, precision = 'float32'): Promise<number[]> {
  const runDir = join(folder(), `${engine}-${precision}`);
  const overrides = [
    `engine.name=${engine}`,
    `engine.precision=${precision}`,
    `train.maxSteps=${steps}`,
    'eval.everySteps=0',
    'sample.maxTokens=0',
  ];
  const args = ['--config', 'shakespeare-char', '--run-dir', runDir, '--workers', '1', ...set(...overrides)];
  const result = await launch(args, folder());
  expect(result.code, result.stderr).toBe(0);
  expect(result.orphans).toEqual([]);
  return lossesOf(runDir);
}

it.runIf(isWanted)(
  'shakespeare-char on a GPU has the losses that it has on the CPU, step by step',
  async () => {
    const expected = await train('native');
    expect(expected).toHaveLength(steps);
    for (const precision of ['float32', 'f16']) {
      const losses = await train('webgpu', precision);
      expect(losses).toHaveLength(steps);
      for (const [i, loss] of losses.entries()) {
        expect(Math.abs(loss - expected[i]!), `step ${i + 1} in ${precision}`).toBeLessThan(0.02);
      }
      expect(losses.at(-1)).toBeLessThan(2.7);
    }
  },
  // A software driver computes two seconds a step on a busy machine.
  3_600_000,
);
