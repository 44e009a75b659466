/** The number of steps of a resumed run of epochs, where its workers have come further than its records. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Config } from '../../../src/config/configTypes.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { RunFolder } from '../../../src/run/runFolder.ts';
import { LengthKeeper, shortRunProblem } from '../../../src/run/runLength.ts';

it('is kept in config.yaml, the newest last; a file that cannot be written is a warning', async () => {
  const folder = new RunFolder(await mkdtemp(join(tmpdir(), 'lockstep-length-')));
  const warnings: string[] = [];
  const config = configSchema.parse({ train: { maxSteps: 11, seed: 5 } });
  const keeper = new LengthKeeper({ folder, config }, (message) => warnings.push(message));
  for (const maxSteps of [13, 12]) keeper.lengthChanged(maxSteps);
  await keeper.close();
  expect(loadConfig({ file: folder.configPath, cwd: folder.path }).config).toEqual({
    ...config,
    train: { ...config.train, maxSteps: 12 },
  });
  await rm(folder.path, { recursive: true });
  keeper.lengthChanged(14);
  await keeper.close();
  expect(warnings).toEqual([expect.stringContaining('cannot write to the run directory')]);
});

function warningOf(train: { epochs: number; maxSteps: number }, schedule: Partial<Config['schedule']>) {
  const config = configSchema.parse({});
  return shortRunProblem({
    ...config,
    train: { ...config.train, ...train },
    schedule: { ...config.schedule, ...schedule },
  });
}
const short = { epochs: 2, maxSteps: 16 };

it('is shorter than the warm-up: the run says so, and where its learning rate ends', () => {
  expect(warningOf({ epochs: 0, maxSteps: 60 }, {})).toContain(
    'the warm-up (100 steps) is longer than the run (60 steps)',
  );
  expect(warningOf(short, { kind: 'inverseSqrt' })).toBe(
    'the warm-up (100 steps) is longer than the run (16 steps), so the learning rate only reaches 16 % of its peak. ' +
      'To shorten it: schedule.warmupSteps=1',
  );
});

it.each([
  ['the warm-up fits', short, { warmupSteps: 16 }],
  ['the rate of a sweep rises to the end', short, { kind: 'sweep' }],
] as const)('is not mentioned where %s', (_, train, schedule) => {
  expect(warningOf(train, schedule)).toBeUndefined();
});
