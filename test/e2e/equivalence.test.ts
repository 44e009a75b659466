/** The same config gives the same training however the work is spread: over workers, over processes or inside one. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isNightly } from '../skippedTests.ts';
import { launch, lossesOf, metricsOf, set, useFolder } from './launch.ts';

const steps = isNightly ? 50 : 30;
const folder = useFolder();

/** Trains shakespeare-char.yaml and returns its run directory. */
async function train(name: string, args: readonly string[], overrides: readonly string[] = []): Promise<string> {
  const runDir = join(folder(), name);
  const common = [`train.maxSteps=${steps}`, 'train.hashEverySteps=1', 'eval.everySteps=15'];
  const result = await launch(
    [
      '--config',
      'shakespeare-char',
      '--run-dir',
      runDir,
      ...args,
      ...set(...common, 'sample.maxTokens=0', ...overrides),
    ],
    folder(),
  );
  expect(result.stderr).toBe('');
  expect(result.code).toBe(0);
  expect(result.orphans).toEqual([]);
  return runDir;
}

function expectClose(losses: readonly number[], expected: readonly number[]): void {
  expect(losses).toHaveLength(expected.length);
  for (const [i, loss] of losses.entries()) {
    expect(Math.abs(loss - (expected[i] ?? 0)) / (expected[i] ?? 1), `step ${i + 1}`).toBeLessThan(1e-4);
  }
}

describe.each([
  ['without dropout', [], ['2', '4']],
  ['with dropout', ['model.dropout=0.1'], ['3']],
])('shakespeare-char.yaml %s', (label, overrides, counts) => {
  const name = label.replace(/\W/g, '-');
  it('has the same losses with one worker and with more, over sockets and in one process', async () => {
    const single = await train(`${name}-1`, ['--workers', '1'], overrides);
    const reference = await lossesOf(single);
    expect(reference).toHaveLength(steps);
    for (const workers of isNightly ? ['2', '3', '4'] : counts) {
      const sockets = await train(`${name}-${workers}`, ['--workers', workers], overrides);
      expectClose(await lossesOf(sockets), reference);
      const memory = await train(`${name}-${workers}-memory`, ['--workers', workers, '--single-process'], overrides);
      // Every rank had the same hash at every step, or the run would have failed; here the two ways are compared.
      const hashes = (await metricsOf(sockets)).map(({ parameterHash }) => parameterHash);
      expect(hashes.filter((hash) => hash !== undefined)).toHaveLength(steps);
      expect((await metricsOf(memory)).map(({ parameterHash }) => parameterHash)).toEqual(hashes);
      expect(await lossesOf(memory)).toEqual(await lossesOf(sockets));
    }
  });
});

it('starts at the loss of a uniform guess', async () => {
  const runDir = await train('initial', ['--workers', '1'], ['train.maxSteps=1']);
  const [line] = await metricsOf(runDir);
  const { vocab_size: vocabSize } = JSON.parse(
    await import('node:fs/promises').then((fs) =>
      fs.readFile(join(runDir, 'checkpoints/step-00000001/config.json'), 'utf8'),
    ),
  ) as { vocab_size: number };
  expect(Math.abs((line?.loss ?? 0) / Math.log(vocabSize) - 1)).toBeLessThan(0.02);
});
