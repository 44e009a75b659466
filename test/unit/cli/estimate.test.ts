import { expect, it } from 'vitest';
import { describeTime, estimatedTime } from '../../../src/cli/estimate.ts';
import { configSchema } from '../../../src/config/schema.ts';

it('is a range, and says what it is made of', () => {
  expect(describeTime(5e9, 600, 100e9)).toBe(
    'estimated 0:40 to 2:00 on this machine: 5 GFLOP a step at 75 to 25 % of its 100 GFLOP/s; evaluations and checkpoints not counted',
  );
});

it('is not made for an engine whose limit nobody knows', async () => {
  expect(await estimatedTime(configSchema.parse({ engine: { name: 'tfjs' } }), 100)).toBeUndefined();
});
