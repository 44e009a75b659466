/** A MarianMTModel that transformers saved: its logits and gradients here, our own folders of it, and what is refused. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import { decodeModelConfig, encodeModelConfig } from '../../../src/checkpoint/modelConfig.ts';
import { openCheckpoint } from '../../../src/checkpoint/openCheckpoint.ts';
import { readSafetensorsHeader } from '../../../src/checkpoint/safetensors.ts';
import type { Dataset } from '../../../src/data/dataset.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { Tape } from '../../../src/model/tape.ts';
import { Trainer } from '../../../src/model/training.ts';
import { hasTokenizer } from '../../../src/run/loadModel.ts';
import { restoreCheckpoint, saveCheckpoint } from '../../../src/run/saveCheckpoint.ts';
import { relativeError } from '../../parity/kernels/harness.ts';
import { sourceOf, tinyEncoderDecoder, translation } from '../../parity/model/sourceBatches.ts';
import { cpu } from './trainedModel.ts';

const fixture = join(packageRoot, 'test/fixtures/marian');
const expected = JSON.parse(readFileSync(join(fixture, 'expected.json'), 'utf8')) as Record<
  'source' | 'tokens' | 'targets' | 'lengths' | 'logits',
  number[]
> & { readonly loss: number };
const fieldOf = (values: readonly number[]) => ({ shape: [values.length / 2], data: Int32Array.from(values) });
const batch = {
  sampleCount: 2,
  arrays: {
    tokens: fieldOf(expected.tokens),
    targets: fieldOf(expected.targets),
    source: fieldOf(expected.source),
    sourceLength: { shape: [1], data: Int32Array.from(expected.lengths) },
  },
};

let cwd: string;
let engine: Engine;
beforeAll(async () => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-marian-'));
  cpSync(fixture, join(cwd, 'marian'), { recursive: true });
  engine = await createEngine(cpu);
});
afterAll(async () => {
  await engine.dispose();
  rmSync(cwd, { recursive: true });
});

async function trainerOf(folder: string): Promise<Trainer> {
  const { modelConfig } = await openCheckpoint(join(cwd, folder));
  const trainer = new Trainer(engine, modelConfig, { seed: 1, objective: translation });
  await restoreCheckpoint(folder, trainer, { cwd });
  return trainer;
}

async function tensorsIn(file: string): Promise<Map<string, Float32Array>> {
  const bytes = readFileSync(file);
  const { entries } = await readSafetensorsHeader(file);
  return new Map(
    entries.map(({ name, begin, end }) => [name, new Float32Array(Uint8Array.from(bytes.subarray(begin, end)).buffer)]),
  );
}

/** The parts that transformers has of our parameter. */
function partsOf(name: string): string[] {
  if (name.includes('qkv_proj')) return ['q_proj', 'k_proj', 'v_proj'].map((part) => name.replace('qkv_proj', part));
  return name.includes('kv_proj') ? ['k_proj', 'v_proj'].map((part) => name.replace('kv_proj', part)) : [name];
}

describe('a folder of MarianMT', () => {
  it('has the logits, the loss and the gradients of transformers', async () => {
    const trainer = await trainerOf('marian');
    const tape = new Tape(engine);
    const tokens = tape.upload(Int32Array.from(expected.tokens), [2, expected.tokens.length / 2]);
    const logits = await tape.read(trainer.model.forward(tape, tokens, { source: sourceOf(tape, batch) }));
    tape.discard();
    expect(relativeError(logits, Float32Array.from(expected.logits))).toBeLessThan(1e-5);
    const { loss } = await trainer.microStep({ ...batch, lossScale: 1 });
    expect(Math.abs(loss! / expected.loss - 1)).toBeLessThan(1e-5);
    const gradients = await tensorsIn(join(fixture, 'gradients.safetensors'));
    for (const [index, { name, size }] of trainer.parameters.trained.entries()) {
      const gradient = new Float32Array(size);
      await trainer.parameters.readTensor('grads', index, gradient);
      const theirs = Float32Array.from(partsOf(name).flatMap((part) => [...gradients.get(part)!]));
      // Keys have no gradient of their bias: softmax does not see it.
      expect(relativeError(gradient, theirs, 1e-3), name).toBeLessThan(1e-4);
    }
  });

  it('is saved with the same tensors and its tables of positions, which transformers computes', async () => {
    const trainer = await trainerOf('marian');
    expect(trainer.model.config).toMatchObject({ beginToken: 36 });
    const tokenizer = { files: () => ({}), endOfText: 0 } as unknown as Dataset['tokenizer'];
    const dataset = { tokenizer, sha256: '0'.repeat(64) };
    const path = await saveCheckpoint('own', trainer, { step: 1, dataset, cwd });
    const [own, theirs] = [
      await tensorsIn(join(path, 'model.safetensors')),
      await tensorsIn(join(fixture, 'model.safetensors')),
    ];
    const tables = ['encoder', 'decoder'].map((stack) => `model.${stack}.embed_positions.weight`);
    expect([...own.keys(), 'final_logits_bias'].sort()).toEqual([...theirs.keys(), ...tables].sort());
    for (const [name, values] of own) if (!tables.includes(name)) expect(values, name).toEqual(theirs.get(name));
    const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'));
    expect(config).toMatchObject({
      model_type: 'marian',
      decoder_start_token_id: 36,
      pad_token_id: 36,
      eos_token_id: 0,
      activation_function: 'silu',
    });
    expect((await openCheckpoint(path)).modelConfig).toEqual(trainer.model.config);
  });

  it('is refused with a bias of its logits', async () => {
    cpSync(fixture, join(cwd, 'biased'), { recursive: true });
    const file = join(cwd, 'biased', 'model.safetensors');
    const { entries } = await readSafetensorsHeader(file);
    const bytes = readFileSync(file);
    bytes.writeFloatLE(0.5, entries.find(({ name }) => name === 'final_logits_bias')!.begin + 8);
    writeFileSync(file, bytes);
    await expect(openCheckpoint(join(cwd, 'biased'))).rejects.toThrow(/tensor final_logits_bias is not 0/);
  });

  it('is refused where its tokenizer is needed and is SentencePiece', async () => {
    const folder = join(cwd, 'pieces');
    cpSync(fixture, folder, { recursive: true });
    expect(hasTokenizer(await openCheckpoint(folder))).toBe(false);
    writeFileSync(join(folder, 'source.spm'), '');
    const checkpoint = await openCheckpoint(folder);
    expect(() => hasTokenizer(checkpoint)).toThrow(
      /has its tokenizer in source\.spm \(SentencePiece\).* Put a tokenizer\.json/,
    );
  });
});

describe('its config.json', () => {
  const model = { ...tinyEncoderDecoder, nInner: 20 };
  const json = () => JSON.parse(encodeModelConfig(model, 3)) as Record<string, unknown>;

  it.each([
    {},
    { mlp: 'silu' },
    { mlp: 'gelu', scaleEmbedding: false },
    { tiedHead: false, dropout: 0.1 },
    { beginToken: 5 },
  ] as const)('has every option of a MarianMT: %o', (changes) => {
    const config = { ...model, ...changes };
    const text = JSON.parse(encodeModelConfig(config, 3));
    expect(text.model_type).toBe('marian');
    expect(decodeModelConfig(text, 'config.json')).toMatchObject(config);
  });

  it.each([
    { normPlace: 'pre' },
    { norm: 'rms' },
    { mlp: 'swiglu' },
    { bias: 'none' },
    { positions: 'learned' },
    { nKvHead: 1 },
    { normEps: 1e-6 },
    { loraRank: 2, loraAlpha: 4, loraTargets: ['q_proj'] },
  ] as const)('is our own for a model that MarianMT is not: %o', (changes) => {
    const config = { ...model, ...changes } as typeof model;
    const text = JSON.parse(encodeModelConfig(config, 3));
    expect(text.model_type).toBe('lockstep');
    expect(decodeModelConfig(text, 'config.json')).toMatchObject(config);
  });

  it('a start token that ends targets too is that of the tokenizer', () => {
    expect(json()).toMatchObject({ decoder_start_token_id: 3, eos_token_id: 3 });
    expect(decodeModelConfig(json(), 'config.json')).toMatchObject({ beginToken: -1 });
    // The default of transformers is outside of this vocabulary.
    const { decoder_start_token_id: _, ...others } = json();
    expect(() => decodeModelConfig(others, 'config.json')).toThrow('model.beginToken 58100 must be less than');
  });

  it.each([
    ['activation_function', 'gelu'],
    ['decoder_ffn_dim', 21],
    ['decoder_attention_heads', 1],
    ['decoder_vocab_size', 5],
    ['share_encoder_decoder_embeddings', false],
    ['static_position_embeddings', false],
    ['normalize_before', true],
    ['normalize_embedding', true],
    ['add_final_layer_norm', true],
    ['quantization_config', { bits: 4 }],
  ])('with %s = %o is refused by name', (key, value) => {
    expect(() => decodeModelConfig({ ...json(), [key]: value }, 'config.json')).toThrow(
      `config.json: ${key} is ${JSON.stringify(value)}, which is not supported`,
    );
  });
});
