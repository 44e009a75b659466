/** The text that ends a run: its newest checkpoint, loaded as `launch generate` loads it, continues `sample.prompt`. */
import type { Config } from '../config/configTypes.ts';
import { continueText } from '../run/continueText.ts';
import { loadModel } from '../run/loadModel.ts';
import { currentOutput, warn } from './output.ts';

/** Nothing is printed if `sample.maxTokens` is 0, or nobody wants a sample. */
export async function printSample(config: Config, runFolder: string): Promise<void> {
  const { sample } = currentOutput();
  if (config.sample.maxTokens === 0 || sample === undefined) return;
  const { name, device, threads } = config.engine;
  const loaded = await loadModel({
    path: runFolder,
    cwd: runFolder,
    engine: { name, device, threads },
    onWarning: warn,
  });
  try {
    await sample(continueText(loaded, { ...config.sample, seed: config.train.seed }));
  } finally {
    await loaded.engine.dispose();
  }
}
