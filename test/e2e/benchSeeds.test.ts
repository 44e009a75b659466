import { expect, it } from 'vitest';
import { bench, startProgram, useFolder } from './launch.ts';

const folder = useFolder();

it('trains a config with each seed, and evaluates the complete validation split at the end', async () => {
  const overrides = ['model.nLayer=1', 'model.nHead=1', 'model.nEmbd=8', 'train.maxSteps=3'];
  const { finished, descendants } = startProgram(
    [...bench, 'seeds', '--seeds', '5,6', '--json', '--set', ...overrides],
    folder(),
  );
  const { code, stdout, stderr } = await finished;
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const { config, results } = JSON.parse(stdout) as { config: string; results: { seed: number; valLoss: number }[] };
  expect(config).toBe('shakespeare-char');
  expect(results).toMatchObject([
    { seed: 5, steps: 3 },
    { seed: 6, steps: 3 },
  ]);
  // Nearly random weights: ln(65) = 4.17.
  const [first, second] = results.map(({ valLoss }) => valLoss);
  expect(first).toBeCloseTo(4.17, 1);
  expect(second).not.toBe(first);
  expect(await descendants()).toEqual([]);
});
