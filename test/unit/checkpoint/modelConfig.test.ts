import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import {
  architectureOf,
  architectures,
  type ModelConfig,
  modelDifference,
  parameterCount,
} from '../../../src/architecture/registry.ts';
import { type ActivationKind, activationKinds } from '../../../src/base/activations.ts';
import { UserError } from '../../../src/base/errors.ts';
import { decodeModelConfig, encodeModelConfig } from '../../../src/checkpoint/modelConfig.ts';
import { openCheckpoint } from '../../../src/checkpoint/openCheckpoint.ts';
import { encodeSafetensorsHeader, type TensorShape } from '../../../src/checkpoint/safetensors.ts';
import { CheckpointStore } from '../../../src/checkpoint/store.ts';
import { collect, contentsAt, temporaryFolder, tensorsOf, tinyModel, valuesOf, writeTiny } from './tinyCheckpoint.ts';

/** What OpenAI's GPT-2 has in its config.json, as published (task settings included), but small. */
const published = {
  activation_function: 'gelu_new',
  architectures: ['GPT2LMHeadModel'],
  attn_pdrop: 0.1,
  bos_token_id: 50256,
  embd_pdrop: 0.1,
  eos_token_id: 50256,
  initializer_range: 0.02,
  layer_norm_epsilon: 1e-5,
  model_type: 'gpt2',
  n_ctx: 8,
  n_embd: 6,
  n_head: 2,
  n_layer: 2,
  n_positions: 8,
  resid_pdrop: 0.1,
  summary_activation: null,
  task_specific_params: { 'text-generation': { do_sample: true, max_length: 50 } },
  vocab_size: 11,
};

const classifier = { architectures: ['GPT2ForSequenceClassification'] };

describe('config.json', () => {
  test.each<Partial<Gpt2Config>>([
    {},
    { bias: false },
    { tiedHead: false, activation: 'relu', dropout: 0 },
    { vocabSize: 50257, blockSize: 1024, nLayer: 12, nHead: 12, nEmbd: 768 },
    { labels: ['ham', '__proto__', '10'] },
    { labels: ['reward'], tiedHead: false },
  ])('holds every field of a model: %o', (changes) => {
    const config = { ...tinyModel, ...changes };
    expect(decodeModelConfig(JSON.parse(encodeModelConfig(config, undefined)), 'config.json')).toEqual(config);
  });

  test.each([
    ...architectures.map(({ name }) => ({ architecture: name, vocabSize: 11 })),
    { architecture: 'transformer', vocabSize: 11, nHead: 4, nKvHead: 4, mlp: 'geglu', bias: 'qkv' },
    { architecture: 'encoderDecoder', vocabSize: 11, nHead: 4, nKvHead: 2, mlp: 'swiglu' },
  ])('is that of the same model, with the defaults of its architecture: %o', (keys) => {
    const config = architectureOf(keys as ModelConfig).keys.parse(keys) as ModelConfig;
    const read = decodeModelConfig(JSON.parse(encodeModelConfig(config, 3)), 'config.json');
    expect(modelDifference(config, read)).toBeUndefined();
    expect(modelDifference({ ...config, blockSize: 7 }, read)?.key).toBe('blockSize');
  });

  test.each(activationKinds)('keeps the activation %s', (activation) => {
    const config = { ...tinyModel, activation };
    expect(decodeModelConfig(JSON.parse(encodeModelConfig(config, undefined)), 'config.json')).toEqual(config);
  });

  test('has a name of its own for every activation, and none for another', () => {
    const names = activationKinds.map((activation) => encodeModelConfig({ ...tinyModel, activation }, undefined));
    expect(new Set(names).size).toBe(activationKinds.length);
    const activation = 'sine' as ActivationKind;
    expect(() => encodeModelConfig({ ...tinyModel, activation }, undefined)).toThrow('no name for the activation sine');
  });

  test.each([50_256, 100_257, 256, 0])('says that the token %i ends a text', (endOfText) => {
    const config = JSON.parse(encodeModelConfig({ ...tinyModel, vocabSize: 100_277 }, endOfText));
    expect(config).toMatchObject({ bos_token_id: endOfText, eos_token_id: endOfText });
  });

  test('says that no token ends a text, where the tokenizer has none: a key that is absent means 50256', () => {
    const config = JSON.parse(encodeModelConfig({ ...tinyModel, vocabSize: 100_277 }, undefined));
    expect(config).toMatchObject({ bos_token_id: null, eos_token_id: null });
  });

  test('names the classes, and a padding token that a text cannot end with', () => {
    const of = (labels: string[]) => JSON.parse(encodeModelConfig({ ...tinyModel, labels }, 7));
    expect(of([])).not.toHaveProperty('id2label');
    expect(of(['ham', 'spam'])).toMatchObject({
      ...classifier,
      id2label: { 0: 'ham', 1: 'spam' },
      label2id: { ham: 0, spam: 1 },
      pad_token_id: 7,
    });
    expect(of(['reward']).pad_token_id).toBeNull(); // because a scored text ends with token 7
  });

  test('names classes as transformers does, where it left their names out', () => {
    const labelsOf = (more: object) => decodeModelConfig({ ...published, ...classifier, ...more }, 'config.json');
    expect(labelsOf({})).toMatchObject({ labels: ['LABEL_0', 'LABEL_1'] });
    expect(labelsOf({ num_labels: 1 })).toMatchObject({ labels: ['LABEL_0'] });
    expect(labelsOf({ id2label: { 1: 'b', 0: 'a' } })).toMatchObject({ labels: ['a', 'b'] });
  });

  test('GPT-2 as published is read', () => {
    expect(decodeModelConfig(published, 'config.json')).toEqual(tinyModel);
  });

  test.each<[Record<string, unknown>, string]>([
    [{ model_type: 'gemma', architectures: ['GemmaForCausalLM'] }, 'another architecture: {"model_type":"gemma"'],
    [{ architectures: ['GPT2ForTokenClassification'] }, 'another architecture'],
    [{ architectures: ['GPT2ForSequenceClassification', 'GPT2LMHeadModel'] }, 'another architecture'],
    [{ ...published, ...classifier, id2label: { 1: 'spam' } }, 'id2label'],
    [{ ...published, ...classifier, num_labels: 2 ** 31 - 1 }, 'num_labels: Too big'],
    [{ ...published, ...classifier, id2label: { 0: 'spam', 1: 'spam' } }, 'model.labels: the same name twice'],
    [{ ...published, ...classifier, problem_type: 'multi_label_classification' }, 'problem_type is "multi_label'],
    [{ model_type: undefined }, 'supported: model_type gpt2'],
    [{ n_inner: 100 }, 'n_inner is 100, which is not supported: expected 24'],
    [
      { activation_function: 'quick_gelu' },
      'activation_function is "quick_gelu", which is not supported: expected gelu_new',
    ],
    [{ activation_function: 'constructor' }, 'activation_function is "constructor"'],
    [{ layer_norm_epsilon: 1e-6 }, 'layer_norm_epsilon is 0.000001'],
    [{ scale_attn_by_inverse_layer_idx: true }, 'scale_attn_by_inverse_layer_idx is true'],
    [{ n_head: 4 }, 'n_embd 6 is not divisible by n_head 4'],
    [{ n_layer: 0 }, 'n_layer'],
    [{ n_positions: 131_072 }, 'describes a model that Lockstep does not support: model.blockSize'],
    [{ n_embd: '6' }, 'n_embd'],
    [{ lockstep: { version: 2, bias: true } }, 'lockstep.version is 2'],
  ])('%o is refused', (changes, message) => {
    const read = () => decodeModelConfig({ ...published, ...changes }, 'config.json');
    expect(read).toThrow(UserError);
    expect(read).toThrow(message);
  });

  test('GPT-2 small means 124,439,808 parameters', () => {
    const config = { ...tinyModel, vocabSize: 50257, blockSize: 1024, nLayer: 12, nHead: 12, nEmbd: 768 };
    expect(parameterCount(config)).toBe(124_439_808);
  });
});

/** Makes a folder as others publish them: no manifest. `encode` turns numbers into the bytes of `dtype`. */
function publishedFolder(options: {
  tensors: TensorShape[];
  config?: Record<string, unknown>;
  dtype?: { name: string; encode: (values: Float32Array) => Uint8Array };
}): string {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'config.json'), JSON.stringify(options.config ?? published));
  writeFileSync(join(folder, 'merges.txt'), '#version: 0.2\n');
  const values = valuesOf(options.tensors, 0, 0);
  let header = Buffer.from(encodeSafetensorsHeader(options.tensors, { format: 'pt' }));
  let data = new Uint8Array(values.buffer);
  if (options.dtype !== undefined) {
    const { name, encode } = options.dtype;
    const json = header.toString('utf8', 8).replaceAll('"F32"', JSON.stringify(name));
    const halved = json.replace(/"data_offsets":\[(\d+),(\d+)\]/g, (_, a, b) => `"data_offsets":[${a / 2},${b / 2}]`);
    header = Buffer.concat(
      [new BigUint64Array([BigInt(Buffer.byteLength(halved))]), Buffer.from(halved)].map(
        (part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength),
      ),
    );
    data = new Uint8Array(encode(values));
  }
  writeFileSync(join(folder, 'model.safetensors'), Buffer.concat([header, data]));
  return folder;
}

describe('a folder that Lockstep did not write', () => {
  const tensors = tensorsOf(tinyModel);
  const names = tensors.map(({ name }) => name);

  test('with names as transformers saves them', async () => {
    const checkpoint = await openCheckpoint(publishedFolder({ tensors }));
    expect(checkpoint.modelConfig).toEqual(tinyModel);
    expect(checkpoint.trainer).toBeUndefined();
    expect(checkpoint.moments).toEqual([]);
    expect(checkpoint.tokenizerFiles).toEqual({ 'merges.txt': '#version: 0.2\n' });
    expect(await collect(checkpoint.stream('model', names))).toEqual(valuesOf(tensors, 0, 0));
    await expect(collect(checkpoint.stream('m', names))).rejects.toThrow('has no optimizer state');
  });

  test("with OpenAI's names: no prefix, mask buffers, a copy of the tied head", async () => {
    const bare = tensors.map(({ name, shape }) => ({ name: name.replace('transformer.', ''), shape }));
    const extra = [
      { name: 'h.0.attn.bias', shape: [1, 1, 8, 8] },
      { name: 'h.1.attn.masked_bias', shape: [] },
      { name: 'lm_head.weight', shape: [11, 6] },
    ];
    const checkpoint = await openCheckpoint(publishedFolder({ tensors: [...bare, ...extra] }));
    expect(checkpoint.tensors).toEqual(tensors);
    expect(await collect(checkpoint.stream('model', names))).toEqual(valuesOf(tensors, 0, 0));
  });

  test('with an untied head, and without biases', async () => {
    const model = { ...tinyModel, tiedHead: false, bias: false };
    const config = JSON.parse(encodeModelConfig(model, undefined));
    const checkpoint = await openCheckpoint(publishedFolder({ tensors: tensorsOf(model), config }));
    expect(checkpoint.modelConfig).toEqual(model);
    expect(checkpoint.tensors.map(({ name }) => name)).toContain('lm_head.weight');
  });

  test.each([
    { holds: true, says: false },
    { holds: true, says: undefined },
    { holds: false, says: true },
    { holds: false, says: undefined },
  ])('has biases: $holds, whatever config.json says ($says)', async ({ holds, says }) => {
    const model = { ...tinyModel, bias: holds };
    // The mask of attention has a name like a bias, but is not one.
    const mask = { name: 'transformer.h.0.attn.bias', shape: [1, 1, 8, 8] };
    const config = { ...published, ...(says !== undefined && { lockstep: { version: 1, bias: says } }) };
    const checkpoint = await openCheckpoint(publishedFolder({ tensors: [...tensorsOf(model), mask], config }));
    expect(checkpoint.modelConfig).toEqual(model);
    expect(checkpoint.tensors).toEqual(tensorsOf(model));
  });

  test('in bfloat16: every value is the upper half of its float32', async () => {
    const encode = (values: Float32Array): Uint8Array => {
      const halves = Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
      return new Uint8Array(halves.buffer);
    };
    const checkpoint = await openCheckpoint(publishedFolder({ tensors, dtype: { name: 'BF16', encode } }));
    const read = await collect(checkpoint.stream('model', names));
    const expected = Uint32Array.from(new Uint32Array(valuesOf(tensors, 0, 0).buffer), (bits) => bits & 0xffff0000);
    expect(read).toEqual(new Float32Array(expected.buffer));
  });

  test('in float16: every kind of number', async () => {
    const known: [number, number][] = [
      [0x0000, 0],
      [0x8000, -0],
      [0x3c00, 1],
      [0xc000, -2],
      [0x7bff, 65504],
      [0x0400, 2 ** -14],
      [0x0001, 2 ** -24],
      [0x83ff, -1023 * 2 ** -24],
      [0x3555, 0.333251953125],
      [0x7c00, Number.POSITIVE_INFINITY],
      [0xfc00, Number.NEGATIVE_INFINITY],
      [0x7e00, Number.NaN],
    ];
    const encode = (values: Float32Array): Uint8Array => {
      const halves = Uint16Array.from({ length: values.length }, (_, i) => known[i % known.length]![0]);
      return new Uint8Array(halves.buffer);
    };
    const checkpoint = await openCheckpoint(publishedFolder({ tensors, dtype: { name: 'F16', encode } }));
    const read = await collect(checkpoint.stream('model', names));
    expect([...read.subarray(0, known.length)]).toEqual(known.map(([, value]) => value));
  });

  test.each<[string, (list: TensorShape[]) => TensorShape[], string]>([
    ['a missing tensor', (list) => list.slice(1), 'lacks tensor transformer.ln_f.bias'],
    ['an unknown tensor', (list) => [...list, { name: 'extra', shape: [1] }], 'has tensor "extra"'],
    [
      'another shape',
      (list) => list.map((t) => (t.shape.length === 2 ? { ...t, shape: [...t.shape].reverse() } : t)),
      'has shape [',
    ],
    ['the same tensor twice', (list) => [...list, { name: 'ln_f.bias', shape: [6] }], 'appears twice'],
  ])('%s is refused', async (_name, change, message) => {
    await expect(openCheckpoint(publishedFolder({ tensors: change(tensors) }))).rejects.toThrow(message);
  });

  test('weights of integers, and weights in another container, are refused', async () => {
    const encode = (values: Float32Array) => new Uint8Array(2 * values.length);
    const integers = publishedFolder({ tensors, dtype: { name: 'I16', encode } });
    await expect(openCheckpoint(integers)).rejects.toThrow('is I16: expected F32, F16, BF16');
    rmSync(join(integers, 'model.safetensors'));
    await expect(openCheckpoint(integers)).rejects.toThrow('model.safetensors is missing');
    writeFileSync(join(integers, 'pytorch_model.bin'), '');
    await expect(openCheckpoint(integers)).rejects.toThrow('has pytorch_model.bin, which can run code');
  });

  test('an empty folder, a file and an absent path are not checkpoints', async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'empty'));
    writeFileSync(join(folder, 'file'), '');
    for (const name of ['empty', 'file', 'absent']) {
      await expect(openCheckpoint(join(folder, name)), name).rejects.toThrow('is not a checkpoint');
    }
  });
});

test("a run's own checkpoint is also a folder in Hugging Face's layout", async () => {
  const store = new CheckpointStore(temporaryFolder());
  const contents = contentsAt(1);
  const path = await writeTiny(store, contents);
  for (const name of ['manifest.json', 'trainer.json', 'optimizer.safetensors']) rmSync(join(path, name));
  const checkpoint = await openCheckpoint(path);
  expect(checkpoint.tensors).toEqual(contents.tensors);
  expect(JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'))).toMatchObject({
    architectures: ['GPT2LMHeadModel'],
    model_type: 'gpt2',
    activation_function: 'gelu_new',
    eos_token_id: null,
  });
});
