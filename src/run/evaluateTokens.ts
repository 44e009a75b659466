/** The mean loss of a loaded model over tokens, and what follows from it. */
import { valBatches, valWindowCount } from '../data/sampler.ts';
import { targetBytes } from '../data/textBytes.ts';
import type { TokenSequence } from '../data/tokenArray.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import type { ModelConfig } from '../model/config.ts';
import { Tape } from '../model/tape.ts';
import type { LoadedModel } from './loadModel.ts';

/** Bounds on one batch: rows, and numbers of activations. */
const BATCH_ROWS_MAX = 8192;
const BATCH_ACTIVATIONS_MAX = 2 ** 28;

/** The sum of the losses of every token of a text but the first, each in nats. */
export interface LossSum {
  readonly sum: number;
  readonly tokens: number;
}

export interface Evaluation extends LossSum {
  /** UTF-8 bytes of the tokens that were predicted. */
  readonly bytes: number;
}

/**
 * Over all tokens of each part, in windows that do not cross from one to the next.
 * @param onProgress called after each batch with the share that is done
 */
export async function evaluateTokens(
  loaded: Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>,
  parts: readonly TokenSequence[],
  onProgress: (done: number) => void = () => undefined,
): Promise<Evaluation> {
  const total = parts.reduce((count, part) => count + part.length, 0);
  const result = { sum: 0, tokens: 0, bytes: 0 };
  for (const part of parts) {
    const before = result.tokens;
    const { sum, tokens } = await lossOver(loaded, part, (done) => onProgress((before + done * part.length) / total));
    result.sum += sum;
    result.tokens += tokens;
    result.bytes += byteLength(loaded.tokenizer, part);
  }
  return result;
}

/**
 * The loss over all of `tokens`, in windows of blockSize that neither overlap nor leave anything out.
 * @param onProgress called after each batch with the share that is done
 */
export async function lossOver(
  { engine, model }: Pick<LoadedModel, 'engine' | 'model'>,
  tokens: TokenSequence,
  onProgress: (done: number) => void = () => undefined,
): Promise<LossSum> {
  const { blockSize } = model.config;
  const rowsMax = Math.min(BATCH_ROWS_MAX, BATCH_ACTIVATIONS_MAX / activationsOfRow(model.config));
  const batchSize = Math.max(1, Math.floor(rowsMax / blockSize));
  const windows = valWindowCount(tokens.length, blockSize);
  const tape = new Tape(engine);
  const result = { sum: 0, tokens: 0 };
  let done = 0;
  for (const batch of valBatches(tokens, { blockSize, batchSize })) {
    const inputs = tape.upload(batch.tokens, [batch.batchSize, blockSize]);
    const targets = tape.upload(batch.targets, [batch.batchSize * blockSize]);
    const losses = model.losses(tape, inputs, targets);
    const values = new Float32Array(losses.size);
    await engine.download(losses, values); // 0 where the target is -1
    tape.discard();
    for (const loss of values) result.sum += loss;
    result.tokens += batch.targetCount;
    done += batch.batchSize;
    onProgress(done / windows);
  }
  return result;
}

/**
 * Numbers that a row takes at once: each block's input, the activations of one block, and its attention weights twice, which tfjs
 * writes out. The head's logits come in chunks that do not grow with the batch.
 */
function activationsOfRow({ nLayer, nEmbd, nHead, blockSize }: ModelConfig): number {
  return (nLayer + 16) * nEmbd + 2 * nHead * blockSize;
}

function byteLength(tokenizer: Tokenizer, tokens: TokenSequence): number {
  const steps = targetBytes(tokenizer, tokens);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** Loss in nats a token, its perplexity, and bits per UTF-8 byte, which compares tokenizers. */
export function measures({ sum, tokens, bytes }: Evaluation) {
  const loss = sum / tokens;
  return { loss, perplexity: Math.exp(loss), bitsPerByte: sum / Math.LN2 / bytes, tokens, bytes };
}
