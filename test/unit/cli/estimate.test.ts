import { expect, it } from 'vitest';
import { describeTime, estimatedTime } from '../../../src/cli/estimate.ts';
import { configSchema } from '../../../src/config/schema.ts';
import type { EngineEntry } from '../../../src/engine/engineEntry.ts';
import { engines } from '../../../src/engine/engines.ts';

it('is a range, and says what it is made of', () => {
  expect(describeTime(5e9, 600, 100e9)).toBe(
    'estimated 0:40 to 2:00 on this machine: 5 GFLOP per step at 75 to 25 % of its 100 GFLOP/s; without evaluations and checkpoints',
  );
});

it('is not made for an engine whose limit nobody knows', async () => {
  expect(await estimatedTime(configSchema.parse({ engine: { name: 'tfjs' } }), 100)).toBeUndefined();
});

it('leaves no engine behind that cannot be measured', async () => {
  let disposed = 0;
  const start: EngineEntry['start'] = async (target) => {
    const engine = await engines.tfjs.start(target);
    const dispose = engine.dispose.bind(engine);
    engine.peakFlops = () => {
      throw new Error('no clock');
    };
    engine.dispose = async () => {
      await dispose();
      disposed++;
    };
    return engine;
  };
  const config = configSchema.parse({ engine: { name: 'tfjs' } });
  await expect(estimatedTime(config, 100, { tfjs: { ...engines.tfjs, start } })).rejects.toThrow('no clock');
  expect(disposed).toBe(1);
});
