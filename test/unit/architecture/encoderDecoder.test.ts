/** The complete encoder–decoder, in float64; test/parity compares it with PyTorch. */
import { describe, expect, it } from 'vitest';
import type { EncoderDecoderConfig } from '../../../src/architecture/encoderDecoder.ts';
import { networkOf, parameterCount } from '../../../src/architecture/registry.ts';
import { stepFlops, weightBytes } from '../../../src/architecture/work.ts';
import type { Batch } from '../../../src/base/batch.ts';
import { decodeModelConfig, encodeModelConfig } from '../../../src/checkpoint/modelConfig.ts';
import { memoryPerWorker } from '../../../src/model/memoryPlan.ts';
import { parameterSpecs } from '../../../src/model/parameterOrder.ts';
import { Tape } from '../../../src/model/tape.ts';
import { Trainer } from '../../../src/model/training.ts';
import { Float64Engine } from '../../parity/model/float64Engine.ts';
import {
  encoderDecoderVariants,
  sourceBatch,
  sourceOf,
  tinyEncoderDecoder as tiny,
  translation,
} from '../../parity/model/sourceBatches.ts';
import { dropoutSource, randomBatch, tinyConfig } from '../../parity/model/tinyModels.ts';
import { meanLoss, read, split } from '../../parity/model/trainers.ts';

const lengths = [
  [6, 4],
  [2, 5],
  [5, 1],
] as const;
const batch = sourceBatch(tiny, lengths);
const options = { seed: 5, objective: translation };
const trainerOf = (config: EncoderDecoderConfig, more = {}) =>
  new Trainer(new Float64Engine(), config, { ...options, ...more });

/** Loss and gradients. */
async function stepOf(trainer: Trainer, parts: readonly Batch[], whole = batch) {
  let from = 0;
  let loss = 0;
  for (const part of parts) {
    const { lossScale } = meanLoss(whole);
    loss += (await trainer.microStep({ ...part, lossScale, dropout: dropoutSource(from) })).loss;
    from += part.sampleCount;
  }
  return { loss, gradients: await read(trainer, 'grads') };
}

it('has the parameters of its two stacks, of which gradients of the decoder are final first and the embedding last', () => {
  const C = 12;
  const attention = 4 * (C * C + C) + 2 * C;
  const mlp = 2 * C * 20 + C + 20 + 2 * C;
  const tables = 23 * C + 2 * 8 * C;
  expect(parameterCount(tiny)).toBe(tables + 2 * (attention + mlp) + 2 * (2 * attention + mlp));
  const trained = parameterSpecs(tiny).filter(({ trainable }) => trainable !== false);
  const names = trained.map(({ name }) => name.replace(/layers\.(\d).*/, '$1'));
  expect([...new Set(names)]).toEqual([
    'model.decoder.1',
    'model.decoder.0',
    'model.encoder.1',
    'model.encoder.0',
    'model.shared.weight',
  ]);
  // Attention to the source needs the encoder's result, and so do its keys and values: only the encoder comes after them.
  expect(networkOf(tiny).specs.map(({ name }) => name)).toContain('model.decoder.layers.1.encoder_attn.kv_proj.weight');
});

describe.each(encoderDecoderVariants)('$name', ({ config }) => {
  it('has the loss and the gradients of any microbatches, and with blocks that are computed again', async () => {
    const whole = await stepOf(trainerOf(config), [batch]);
    const again = await stepOf(trainerOf(config, { activationRecompute: 'block' }), [batch]);
    expect(again).toEqual(whole);
    const parts = await stepOf(trainerOf(config), split(batch, [1, 2]));
    expect(parts.loss).toBeCloseTo(whole.loss, 10);
    for (const [name, gradient] of parts.gradients) {
      for (const [i, value] of gradient.entries()) {
        expect(value, name).toBeCloseTo(whole.gradients.get(name)![i]!, 6);
      }
    }
  });

  it('reads all of its source, and nothing of its padding', async () => {
    const trainer = trainerOf({ ...config, dropout: 0 });
    const plain = await stepOf(trainer, [batch]);
    trainer.zeroGrads();
    const padded = sourceBatch(tiny, lengths, { S: 8 });
    padded.arrays['source']!.data.fill(7, 6, 8);
    expect(await stepOf(trainer, [padded], padded)).toEqual(plain);
    for (const at of [0, 5, 6, 7]) {
      const changed = sourceBatch(tiny, lengths);
      const { data } = changed.arrays['source']!;
      data[at] = (data[at]! + 1) % 23;
      expect((await trainer.evaluate(changed)).loss).not.toBe(plain.loss);
    }
  });
});

it('refuses sequences without a source, sources that are too long, and a source for another model', () => {
  const [own, gpt2] = [trainerOf(tiny), new Trainer(new Float64Engine(), tinyConfig, { seed: 1 })];
  const tape = new Tape(own.engine);
  const tokens = tape.upload(new Int32Array(3), [1, 3]);
  expect(() => own.model.forward(tape, tokens)).toThrow('needs a source');
  expect(() => own.model.newCache()).toThrow('needs a source');
  const source = { tokens: tape.upload(new Int32Array(9), [1, 9]), lengths: [3] };
  expect(() => own.model.forward(tape, tokens, { source })).toThrow('longer than blockSize 8');
  expect(() => own.model.forward(tape, tokens, { source: sourceOf(tape, batch) })).toThrow('for each of 1 sequences');
  expect(() => gpt2.model.forward(tape, tokens, { source: sourceOf(tape, batch) })).toThrow('has no source');
  expect(() => new Trainer(new Float64Engine(), tiny, { seed: 1 })).toThrow('does not continue texts');
});

it('counts its operations, the parameters of a token, and its memory', async () => {
  const [C, I, V, T, S] = [12, 20, 23, 4, 6];
  const perSource = 2 * (4 * C * C + 2 * C * I) + 2 * 2 * C * C;
  const perTarget = 2 * (4 * C * C + 2 * C * C + 2 * C * I) + V * C;
  // Products, then attention: in both directions, causal, and to the source.
  const sums = S * perSource + T * perTarget + 2 * C * (2 * S * S + T * T + 2 * T * S);
  expect(stepFlops(tiny, T, 'all', T, S)).toBeCloseTo(6 * sums, 6);
  const isRead = (name: string) => !/^model\.encoder\.|\.kv_proj\.|positions/.test(name);
  const readOfToken = parameterSpecs(tiny).filter(({ name }) => isRead(name));
  expect(weightBytes(tiny)).toBe(4 * readOfToken.reduce((sum, { size }) => sum + size, 0));

  const [one, two] = [1, 2].map((microBatchSize) => memoryPerWorker(tiny, { microBatchSize })) as [
    ReturnType<typeof memoryPerWorker>,
    ReturnType<typeof memoryPerWorker>,
  ];
  // Tensors begin at multiples of a cache line.
  expect(one.parameters).toBeGreaterThanOrEqual(4 * parameterCount(tiny));
  expect(one.parameters).toBeLessThan(4.4 * parameterCount(tiny));
  expect(two.activations).toBeGreaterThan(1.5 * one.activations);
});

it("has a config.json of our own, and is not trained on a text's next tokens", () => {
  const json = JSON.parse(encodeModelConfig(tiny, undefined));
  expect(json).toMatchObject({ model_type: 'lockstep', lockstep: { version: 1, model: tiny } });
  expect(decodeModelConfig(json, 'config.json')).toMatchObject(tiny);
  expect(randomBatch(tiny, { seed: 1, batchSize: 1 }).arrays).not.toHaveProperty('source');
});
