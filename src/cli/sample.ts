/** The text that ends a run: its newest checkpoint, loaded as `launch generate` loads it, continues `sample.prompt`. */
import type { Config } from '../config/schema.ts';
import { continueText } from '../run/continueText.ts';
import { loadModel } from '../run/loadModel.ts';
import { warn } from './progress.ts';

/** Prints to standard output. Nothing is printed if `sample.maxTokens` is 0. */
export async function printSample(config: Config, runFolder: string): Promise<void> {
  if (config.sample.maxTokens === 0) return;
  const { name, device, threads } = config.engine;
  const loaded = await loadModel({
    path: runFolder,
    cwd: runFolder,
    engine: { name, device, threads },
    onWarning: warn,
  });
  try {
    process.stdout.write('\n--- sample ---\n');
    for await (const piece of continueText(loaded, { ...config.sample, seed: config.train.seed })) {
      process.stdout.write(piece);
    }
    process.stdout.write('\n--------------\n\n');
  } finally {
    await loaded.engine.dispose();
  }
}
