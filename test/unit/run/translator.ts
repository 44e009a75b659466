/** A tiny encoder–decoder that has learned to copy a few letters, with its checkpoint. */
import type { EncoderDecoderConfig } from '../../../src/architecture/encoderDecoder.ts';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { seq2seq } from '../../../src/model/objectives/seq2seq.ts';
import { Trainer } from '../../../src/model/training.ts';
import { saveCheckpoint } from '../../../src/run/saveCheckpoint.ts';
import { seq2seqTask } from '../../../src/task/seq2seq.ts';
import { collate, paddedLengths } from '../../../src/task/task.ts';

const letters = 'abcd';
export const translatorBlockSize = 8;

/** Texts of 3 letters, all of them. */
export const words = Array.from({ length: 64 }, (_, i) =>
  [i >> 4, (i >> 2) & 3, i & 3].map((at) => letters[at]).join(''),
);

/** Those that it does not learn from. */
export const unseen = words.filter((_, i) => i % 7 === 3);

/**
 * Learns to copy, and writes the checkpoint.
 * @param folder the run directory
 */
export async function trainTranslator(folder: string, steps: number): Promise<void> {
  const tokenizer = await createTokenizer('char', letters, { endOfText: true });
  const task = seq2seqTask({ tokenizer });
  const samples = words
    .filter((word) => !unseen.includes(word))
    .map((word) => task.encode(task.parse({ source: word, target: word }, word)));
  const config: EncoderDecoderConfig = {
    ...{ architecture: 'encoderDecoder', vocabSize: tokenizer.vocabSize, blockSize: translatorBlockSize },
    ...{ nLayer: 1, encoderLayers: 1, nHead: 2, nKvHead: 0, nEmbd: 32, nInner: 64, dropout: 0, normEps: 1e-5 },
    ...{ positions: 'learned', scaleEmbedding: false, norm: 'layer', normPlace: 'post', mlp: 'relu', bias: 'all' },
    tiedHead: true,
  };
  const engine = await createEngine({ name: 'native', threads: 1 });
  try {
    const trainer = new Trainer(engine, config, { seed: 1, objective: seq2seq });
    const batch = collate(task.fields, samples, paddedLengths(task.fields, samples, translatorBlockSize));
    const adamw = { beta1: 0.9, beta2: 0.98, eps: 1e-8, weightDecay: 0, gradClip: 1 };
    for (let step = 1; step <= steps; step++) {
      trainer.zeroGrads();
      await trainer.microStep({ ...batch, lossScale: 1 / task.weight(batch) });
      await trainer.applyAdamw({ ...adamw, step, learningRate: 5e-3 * Math.min(1, step / 20) });
    }
    const dataset = { tokenizer, sha256: 'a'.repeat(64) };
    const sample = { prompt: 'ab', maxTokens: 8, temperature: 0 };
    await saveCheckpoint('checkpoints', trainer, { step: steps, dataset, cwd: folder, config: { sample } });
  } finally {
    await engine.dispose();
  }
}
