/** The sample at the end of a run: the newest checkpoint, loaded as in `launch generate`, continues `sample.prompt`, or translates it. */
import { setImmediate } from 'node:timers/promises';
import type { Config } from '../config/configTypes.ts';
import { selectEngine } from '../engine/registry.ts';
import { LineLog } from '../records/lineLog.ts';
import { continueText } from '../run/continueText.ts';
import { loadModel } from '../run/loadModel.ts';
import type { RunFolder } from '../run/runFolder.ts';
import { onEndRequest } from './endRequests.ts';
import { currentOutput, warn } from './output.ts';
import { onPrintFailure } from './outputFailures.ts';

/**
 * Prints the sample and stores it in samples.jsonl, unless `sample.maxTokens` is 0 or the output needs no sample. A request to end
 * the command, or a failure to print, ends the text early without affecting the run.
 */
export async function printSample(config: Config, folder: RunFolder): Promise<void> {
  const { sample } = currentOutput();
  if (config.sample.maxTokens === 0 || sample === undefined) return;
  const { deviceKind, device, threads } = config.engine;
  // By name: the run has already warned of a slow engine.
  const { name } = await selectEngine(config.engine);
  const loaded = await loadModel({
    path: folder.path,
    cwd: folder.path,
    engine: { name, deviceKind, device, threads },
    onWarning: warn,
  });
  let isInterrupted = false;
  const onInterrupt = () => {
    isInterrupted = true;
  };
  const ignoreRequests = onEndRequest(onInterrupt);
  // The run has already succeeded.
  const ignorePrintFailures = onPrintFailure(onInterrupt);
  const pieces: string[] = [];
  async function* untilInterrupted() {
    for await (const piece of continueText(loaded, { ...config.sample, seed: config.train.seed })) {
      pieces.push(piece);
      yield piece;
      // A target is on a line of its own below its source.
      if (pieces.length === 1 && config.task.kind === 'seq2seq') yield '\n';
      // On a CPU a token is computed synchronously, so let signals be handled here.
      await setImmediate();
      if (isInterrupted) return;
    }
  }
  try {
    await sample(untilInterrupted());
    const log = new LineLog(folder.samplesPath, 'samples', warn);
    const [prompt = '', ...text] = pieces;
    log.append({ step: loaded.checkpoint.step, prompt, text: text.join('') });
    await log.flush();
  } finally {
    ignoreRequests();
    ignorePrintFailures();
    await loaded.engine.dispose();
  }
}
