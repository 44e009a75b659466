/** The mean loss of a loaded model over tokens, and what follows from it. */
import { tokenActivations } from '../architecture/work.ts';
import { addSums, noSums, type Sums } from '../base/sums.ts';
import { valBatches, valWindowCount } from '../data/sampler.ts';
import { targetBytes } from '../data/textBytes.ts';
import type { TokenSequence } from '../data/tokenArray.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import { bitsPerByte, lossAndPerplexity } from '../task/textMeasures.ts';
import { addedSums, type Evaluator, type OnDone, ownEvaluator } from './evaluationParts.ts';
import type { LoadedModel } from './loadModel.ts';

/** Bounds on one batch: rows, and numbers of activations. */
const BATCH_ROWS_MAX = 8192;
const BATCH_ACTIVATIONS_MAX = 2 ** 28;

/** The sums over every token of a text but the first. */
export interface Evaluation {
  readonly sums: Sums;
  /** UTF-8 bytes of the tokens that were predicted. */
  readonly bytes: number;
}

/**
 * Over all tokens of each part, in windows that do not cross from one to the next.
 * @param onProgress called after each batch with the share that is done
 * @param evaluator who computes; default: this process
 */
export async function evaluateTokens(
  loaded: Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>,
  parts: readonly TokenSequence[],
  onProgress: (done: number) => void = () => undefined,
  evaluator: Evaluator = ownEvaluator(loaded),
): Promise<Evaluation> {
  const total = parts.reduce((count, part) => count + part.length, 0);
  let [sums, bytes, before] = [noSums, 0, 0];
  for (const part of parts) {
    // Nothing of it is predicted: a split may be empty.
    if (part.length < 2) continue;
    let done = 0;
    const windows = valWindowCount(part.length, loaded.model.config.blockSize);
    const onDone = (count: number): void => {
      done += count;
      onProgress((before + (done / windows) * part.length) / total);
    };
    sums = addSums(sums, await sumsOver(loaded, part, { evaluator, onDone }));
    bytes += byteLength(loaded.tokenizer, part);
    before += part.length;
  }
  return { sums, bytes };
}

/** Over all of `tokens`, in windows of blockSize that neither overlap nor leave anything out. */
function sumsOver(
  loaded: Pick<LoadedModel, 'model'>,
  tokens: TokenSequence,
  { evaluator, onDone }: { readonly evaluator: Evaluator; readonly onDone: OnDone },
): Promise<Sums> {
  const { model } = loaded;
  const { blockSize } = model.config;
  const rowsMax = Math.min(BATCH_ROWS_MAX, BATCH_ACTIVATIONS_MAX / tokenActivations(model.config));
  const batchSize = Math.max(1, Math.floor(rowsMax / blockSize));
  const batches = valBatches(tokens, { blockSize, batchSize });
  return addedSums(evaluator, { loaded, objective: 'next-token', batches, onDone });
}

function byteLength(tokenizer: Tokenizer, tokens: TokenSequence): number {
  const steps = targetBytes(tokenizer, tokens);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** Loss in nats a token, its perplexity, and bits per UTF-8 byte, which compares tokenizers. */
export function measures({ sums, bytes }: Evaluation) {
  return { ...lossAndPerplexity(sums), bitsPerByte: bitsPerByte(sums, bytes), tokens: sums.weight, bytes };
}
