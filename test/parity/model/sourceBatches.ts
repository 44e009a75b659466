/** A tiny encoder–decoder and batches with sources, which tests share. */
import type { EncoderDecoderConfig } from '../../../src/architecture/encoderDecoder.ts';
import type { Batch } from '../../../src/base/batch.ts';
import { randomKey, randomUniform } from '../../../src/base/counterRandom.ts';
import type { ForwardOptions, LossOptions, Model } from '../../../src/model/model.ts';
import type { Objective } from '../../../src/model/objectives/objective.ts';
import type { Tape } from '../../../src/model/tape.ts';
import { targetsOf } from '../../../src/task/nextToken.ts';

export const tinyEncoderDecoder: EncoderDecoderConfig = {
  architecture: 'encoderDecoder',
  vocabSize: 23,
  blockSize: 8,
  nLayer: 2,
  encoderLayers: 2,
  nHead: 2,
  nKvHead: 0,
  nEmbd: 12,
  nInner: 20,
  positions: 'sinusoidal',
  scaleEmbedding: true,
  norm: 'layer',
  normPlace: 'post',
  normEps: 1e-5,
  mlp: 'relu',
  bias: 'all',
  tiedHead: true,
  dropout: 0,
};

/** Every option that changes the graph. */
export const encoderDecoderVariants: readonly { readonly name: string; readonly config: EncoderDecoderConfig }[] = [
  { name: 'post-norm, relu', config: tinyEncoderDecoder },
  {
    name: 'pre-norm, gated, grouped keys, learned positions, dropout',
    config: {
      ...tinyEncoderDecoder,
      nLayer: 1,
      encoderLayers: 2,
      nKvHead: 1,
      positions: 'learned',
      scaleEmbedding: false,
      norm: 'rms',
      normPlace: 'pre',
      mlp: 'swiglu',
      bias: 'none',
      tiedHead: false,
      dropout: 0.2,
    },
  },
];

/** Sequences of random tokens: `lengths` are those of each source and target; both are padded to the longest, or to `S`. */
export function sourceBatch(
  { vocabSize }: { readonly vocabSize: number },
  lengths: readonly (readonly [source: number, target: number])[],
  { seed = 1, S = Math.max(...lengths.map(([source]) => source)) } = {},
): Batch {
  const T = Math.max(...lengths.map(([, target]) => target));
  const token = (row: number, i: number) => Math.floor(randomUniform(randomKey(seed, row), i) * vocabSize);
  const rows = (length: number, value: (row: number, i: number) => number) => ({
    shape: [length],
    data: Int32Array.from({ length: lengths.length * length }, (_, at) => value(Math.floor(at / length), at % length)),
  });
  return {
    sampleCount: lengths.length,
    arrays: {
      tokens: rows(T, (row, i) => (i < lengths[row]![1] ? token(row, i) : 0)),
      targets: rows(T, (row, i) => (i < lengths[row]![1] ? token(row, i + 1) : -1)),
      source: rows(S, (row, i) => (i < lengths[row]![0] ? token(row, 100 + i) : 0)),
      sourceLength: { shape: [1], data: Int32Array.from(lengths, ([source]) => source) },
    },
  };
}

/** The source of a batch for a pass. */
export function sourceOf(tape: Tape, { sampleCount, arrays }: Batch): Required<ForwardOptions>['source'] {
  const { data, shape } = arrays['source']!;
  return { tokens: tape.upload(data, [sampleCount, ...shape]), lengths: arrays['sourceLength']!.data };
}

function losses(tape: Tape, model: Model, batch: Batch, options: LossOptions) {
  const { tokens, targets } = batch.arrays as Record<string, Batch['arrays'][string]>;
  const ids = tape.upload(tokens!.data, [batch.sampleCount, ...tokens!.shape]);
  const source = sourceOf(tape, batch);
  const result = model.losses(tape, ids, tape.upload(targets!.data, [targets!.data.length]), { ...options, source });
  return { weight: targetsOf(batch), loss: result.value };
}

/** Cross entropy of the targets. */
export const translation: Objective = {
  name: 'translation',
  fields: () => ({}),
  async step(tape, model, batch, { scale: lossScale, dropout, activationRecompute, onGradReady }) {
    const sums = losses(tape, model, batch, { lossScale, dropout, activationRecompute });
    tape.backward([], onGradReady);
    return sums;
  },
  evaluate: async (tape, model, batch) => losses(tape, model, batch, {}),
};
