/** The complete encoder–decoder, in float64; test/parity compares it with PyTorch. */
import { describe, expect, it } from 'vitest';
import type { EncoderDecoderConfig } from '../../../src/architecture/encoderDecoder.ts';
import { encoderDecoderLoraTargets } from '../../../src/architecture/lora.ts';
import { networkOf, parameterCount } from '../../../src/architecture/registry.ts';
import { stepFlops, weightBytes } from '../../../src/architecture/work.ts';
import type { Batch } from '../../../src/base/batch.ts';
import { UserError } from '../../../src/base/errors.ts';
import { decodeModelConfig, encodeModelConfig } from '../../../src/checkpoint/modelConfig.ts';
import { planEngine } from '../../../src/engine/registry.ts';
import { beamSearch } from '../../../src/model/beamSearch.ts';
import { DecodeBatch } from '../../../src/model/decodeBatch.ts';
import { memoryPerWorker } from '../../../src/model/memoryPlan.ts';
import { Model } from '../../../src/model/model.ts';
import { parameterSpecs } from '../../../src/model/parameterOrder.ts';
import { Parameters } from '../../../src/model/parameterStore.ts';
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

it('trains only adapters with LoRA, from the loss of its weights', async () => {
  const lora = { ...tiny, loraRank: 2, loraTargets: [...encoderDecoderLoraTargets] };
  const { loss, gradients } = await stepOf(trainerOf(lora), [batch]);
  expect(loss).toBe((await stepOf(trainerOf(tiny), [batch])).loss);
  expect([...gradients.keys()].every((name) => /\.lora_[AB]\.weight$/.test(name))).toBe(true);
  // An encoder's block has four adapted layers, a decoder's seven.
  expect(gradients.size).toBe(2 * (2 * 4 + 2 * 7));
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

  const batchOf = ({ engine, model }: Trainer) => new DecodeBatch(engine, model);
  const sequence = { prompt: [1], seed: 1, temperature: 0, topK: 0, topP: 1 };
  expect(() => batchOf(own).add(sequence)).toThrow(
    new UserError('the model needs a source, and does not continue texts'),
  );
  expect(() => batchOf(own).add({ ...sequence, source: [] })).toThrow('a source of 1 to 8 tokens, received 0');
  expect(() => batchOf(own).add({ ...sequence, source: [23] })).toThrow('the source has a token outside');
  expect(() => batchOf(gpt2).add({ ...sequence, source: [1] })).toThrow('has no source');
});

it('finds the likeliest of all targets if no beam is dropped, without tokens that are excluded', async () => {
  const config = { ...tiny, vocabSize: 4 };
  const { engine, model, parameters } = trainerOf(config);
  for (const [index, { size }] of parameters.specs.entries()) {
    const values = Float32Array.from({ length: size }, (_, i) => Math.sin(7 * i + index));
    parameters.writeTensor('params', index, values);
  }
  const options = { source: [1, 2, 3], begin: 3, end: 0, beams: 40, maxTokens: 3, lengthPenalty: 0.7 };
  const found = await beamSearch(engine, model, options);
  const targets = [1, 2, 3].flatMap((a) => [
    [0],
    [a, 0],
    ...[1, 2, 3].flatMap((b) => [0, 1, 2, 3].map((c) => [a, b, c])),
  ]);
  const different = new Set(targets.map((target) => target.join()));
  const scored = await Promise.all([...different].map((target) => scoreOf(target.split(',').map(Number))));
  async function scoreOf(tokens: readonly number[]) {
    const tape = new Tape(engine);
    const [inputs, source] = [
      [3, ...tokens.slice(0, -1)],
      [1, 2, 3],
    ];
    const upload = (row: readonly number[]) => tape.upload(Int32Array.from(row), [1, row.length]);
    const losses = model.losses(tape, upload(inputs), tape.upload(Int32Array.from(tokens), [tokens.length]), {
      source: { tokens: upload(source), lengths: [3] },
    });
    const logprob = (await tape.read(losses)).reduce((sum, loss) => sum - loss, 0);
    tape.discard();
    return { tokens, score: logprob / tokens.length ** 0.7 };
  }
  scored.sort((a, b) => b.score - a.score);
  expect(found.map(({ tokens }) => tokens)).toEqual(scored.map(({ tokens }) => tokens));
  expect(found.length).toBe(40);
  for (const [i, { score }] of found.entries()) expect(score).toBeCloseTo(scored[i]!.score, 4);
  const without = await beamSearch(engine, model, { ...options, never: [2] });
  expect(without.map(({ tokens }) => tokens)).toEqual(
    scored.map(({ tokens }) => tokens).filter((tokens) => !tokens.includes(2)),
  );

  const gpt2 = new Trainer(new Float64Engine(), tinyConfig, { seed: 1 });
  await expect(beamSearch(gpt2.engine, gpt2.model, options)).rejects.toThrow(UserError);
  await expect(beamSearch(engine, model, { ...options, beams: 0 })).rejects.toThrow('beams must be');
  await expect(beamSearch(engine, model, { ...options, maxTokens: 9 })).rejects.toThrow('blockSize 8');
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

it('keeps only the input of each block of the encoder, also where the first pass has one token of the target', () => {
  const peakOf = (encoderLayers: number): number => {
    const config = { ...tiny, encoderLayers, blockSize: 512 };
    const engine = planEngine();
    const model = new Model(engine, config, new Parameters(engine, parameterSpecs(config), { training: false }));
    const before = engine.memory().bytesInUse;
    const [tape, tokens] = [new Tape(engine), engine.alloc([1, 1], 'int32')];
    model.decode(tape, tokens, { cache: model.newCache(new Int32Array(512)), position: 0 });
    tape.discard();
    return engine.memory().bytesPeak - before;
  };
  expect(peakOf(12) - peakOf(2)).toBe(10 * 4 * 512 * tiny.nEmbd);
});

it("has the config.json of a MarianMT, and is not trained on a text's next tokens", () => {
  const json = JSON.parse(encodeModelConfig(tiny, undefined));
  expect(json).toMatchObject({ model_type: 'marian', encoder_layers: tiny.encoderLayers });
  expect(decodeModelConfig(json, 'config.json')).toMatchObject(tiny);
  expect(randomBatch(tiny, { seed: 1, batchSize: 1 }).arrays).not.toHaveProperty('source');
});
