/** The number of steps of a resumed run of epochs, where its workers have come further than its records. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { RunFolder } from '../../../src/run/runFolder.ts';
import { LengthKeeper } from '../../../src/run/runLength.ts';

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
