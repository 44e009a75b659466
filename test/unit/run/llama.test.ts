/**
 * Models of the Llama family that transformers saved (test/fixtures/llama): logits, losses, gradients and tokens are those of transformers,
 * generation gives the same with and without the cache, and Lockstep's own folders hold the same tensors.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import { openCheckpoint } from '../../../src/checkpoint/openCheckpoint.ts';
import { readSafetensorsHeader } from '../../../src/checkpoint/safetensors.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { tokenizerFromFiles } from '../../../src/data/tokenizers/openTokenizer.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { generate } from '../../../src/model/generate.ts';
import { objectiveOf } from '../../../src/model/objectives/registry.ts';
import { Tape } from '../../../src/model/tape.ts';
import { Trainer } from '../../../src/model/training.ts';
import { restoreCheckpoint, saveCheckpoint } from '../../../src/run/saveCheckpoint.ts';
import { tokenBatch } from '../../../src/task/nextToken.ts';
import { relativeError } from '../../parity/kernels/harness.ts';
import { cpu } from './trainedModel.ts';

const fixtures = join(packageRoot, 'test/fixtures/llama');
const expected = JSON.parse(readFileSync(join(fixtures, 'expected.json'), 'utf8'));
const names = ['llama', 'qwen2', 'classes'] as const;
const context = 48;

let cwd: string;
let engine: Engine;
beforeAll(async () => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-llama-'));
  cpSync(fixtures, cwd, { recursive: true });
  engine = await createEngine(cpu);
});
afterAll(async () => {
  await engine.dispose();
  rmSync(cwd, { recursive: true });
});

async function trainerOf(name: string): Promise<Trainer> {
  const { modelConfig } = await openCheckpoint(resolve(cwd, name));
  const objective = name.includes('classes') ? { objective: objectiveOf('classes', configSchema.parse({}).task) } : {};
  const trainer = new Trainer(engine, modelConfig, { seed: 1, ...objective });
  await restoreCheckpoint(name, trainer, { cwd });
  return trainer;
}

function batchOf(name: string) {
  const targets = new Int32Array(2 * context).fill(-1);
  if (name !== 'classes') targets.set(expected.targets);
  else for (const [row, label] of expected.classes.entries()) targets[(row + 1) * context - 1] = label;
  return tokenBatch(Int32Array.from(expected.tokens), targets, context);
}

async function lastLogits({ model }: Trainer): Promise<Float32Array[]> {
  const tape = new Tape(engine);
  const logits = model.forward(tape, tape.upload(Int32Array.from(expected.tokens), [2, context]));
  const all = await tape.read(logits);
  tape.discard();
  const width = logits.shape.at(-1)!;
  return [1, 2].map((row) => all.slice((row * context - 1) * width, row * context * width));
}

/** Every tensor of a folder's weight files. */
async function tensorsIn(...files: string[]): Promise<Map<string, { shape: readonly number[]; values: Float32Array }>> {
  const tensors = new Map();
  for (const file of files) {
    const bytes = readFileSync(file);
    for (const { name, shape, begin, end } of (await readSafetensorsHeader(file)).entries) {
      tensors.set(name, { shape, values: new Float32Array(Uint8Array.from(bytes.subarray(begin, end)).buffer) });
    }
  }
  return tensors;
}

const shards = [1, 2, 3].map((n) => `model-0000${n}-of-00003.safetensors`);
const filesOf = (name: string) =>
  (name === 'llama' ? shards : ['model.safetensors']).map((file) => join(cwd, name, file));

/** The gradient of our parameter, from the parts that transformers has. */
function gradientOf(name: string, gradients: ReadonlyMap<string, { values: Float32Array }>): Float32Array {
  const parts = name.includes('qkv_proj')
    ? ['q_proj', 'k_proj', 'v_proj'].map((part) => name.replace('qkv_proj', part))
    : name.includes('gate_up_proj')
      ? ['gate_proj', 'up_proj'].map((part) => name.replace('gate_up_proj', part))
      : [name];
  return Float32Array.from(parts.flatMap((part) => [...gradients.get(part)!.values]));
}

describe.each(names)('%s', (name) => {
  it('has the logits, the loss and the gradients of transformers', async () => {
    const trainer = await trainerOf(name);
    const logits = (await lastLogits(trainer)).flatMap((row) => [...row]);
    const { loss, lastLogits: theirs } = expected.models[name];
    expect(relativeError(Float32Array.from(logits), Float32Array.from(theirs))).toBeLessThan(1e-5);
    const sums = await trainer.microStep({ ...batchOf(name), lossScale: 1 });
    expect(Math.abs(sums.loss / loss - 1)).toBeLessThan(1e-5);
    const all = await tensorsIn(join(fixtures, 'gradients.safetensors'));
    const gradients = new Map(
      [...all].flatMap(([key, value]) => (key.startsWith(`${name}.`) ? [[key.slice(name.length + 1), value]] : [])),
    );
    for (const [index, spec] of trainer.parameters.specs.entries()) {
      const gradient = new Float32Array(spec.size);
      await trainer.parameters.readTensor('grads', index, gradient);
      expect(relativeError(gradient, gradientOf(spec.name, gradients)), spec.name).toBeLessThan(1e-4);
    }
  });

  it('is saved with the same tensors, which are read again to the bit', async () => {
    const trainer = await trainerOf(name);
    const { tokenizerFiles } = await openCheckpoint(join(cwd, 'llama'));
    const dataset = { tokenizer: await tokenizerFromFiles(tokenizerFiles), sha256: '0' };
    const path = await saveCheckpoint(`own-${name}`, trainer, { step: 1, dataset, cwd });
    const [own, theirs] = [await tensorsIn(join(path, 'model.safetensors')), await tensorsIn(...filesOf(name))];
    expect([...own.keys()].sort()).toEqual([...theirs.keys()].sort());
    for (const [key, tensor] of own) expect(tensor, key).toEqual(theirs.get(key));
    const [{ modelConfig }, { modelConfig: before }] = await Promise.all([
      openCheckpoint(path),
      openCheckpoint(join(cwd, name)),
    ]);
    expect(modelConfig).toEqual(before);
    const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'));
    const original = JSON.parse(readFileSync(join(cwd, name, 'config.json'), 'utf8'));
    expect(config.architectures).toEqual(original.architectures);
    expect(config.model_type).toBe(original.model_type);
    expect(await lastLogits(await trainerOf(path))).toEqual(await lastLogits(trainer));
  });
});

it('generates the same tokens with and without the cache', async () => {
  const { model } = await trainerOf('llama');
  const tokensOf = async (useCache: boolean) => {
    const tokens: number[] = [];
    const options = { prompt: [2, 3, 5, 7, 11], maxTokens: 9, seed: 3, temperature: 0, topK: 0, topP: 1, useCache };
    for await (const token of generate(engine, model, options)) tokens.push(token);
    return tokens;
  };
  const cached = await tokensOf(true);
  expect(new Set(cached).size).toBeGreaterThan(3);
  expect(await tokensOf(false)).toEqual(cached);
});

it('reads the tokenizer of the folder, whose special tokens are its own', async () => {
  const { tokenizerFiles } = await openCheckpoint(join(cwd, 'llama'));
  const tokenizer = await tokenizerFromFiles(tokenizerFiles);
  expect(tokenizer.vocabSize).toBe(288);
  expect(tokenizer.specialTokens.get('<|end_of_text|>')).toBe(tokenizer.endOfText);
  expect(tokenizer.decode(tokenizer.encode("They'll see 12345"))).toBe("They'll see 12345");
});

const tokenizers = JSON.parse(readFileSync(join(fixtures, 'tokenizers.json'), 'utf8'));
it.each(['llama3', 'qwen2', 'smollm2'])('splits text like the tokenizer of %s', async (kind) => {
  const { json, texts } = tokenizers[kind];
  const tokenizer = await tokenizerFromFiles({ 'tokenizer.json': JSON.stringify(json) });
  for (const { text, ids } of texts) expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(ids);
});

describe('a variant that is computed otherwise', () => {
  const refusal = async (name: string, change: Record<string, unknown>): Promise<string> => {
    const folder = mkdtempSync(join(cwd, 'variant-'));
    cpSync(join(cwd, name), folder, { recursive: true });
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, ...change }));
    const error = await openCheckpoint(folder).catch((thrown: unknown) => thrown as Error);
    return error instanceof Error ? error.message : expect.fail('was accepted');
  };

  it.each([
    ['llama', { head_dim: 8 }, 'head_dim is 8, which is not supported: expected 4, hidden_size / num_attention_heads'],
    ['llama', { rope_parameters: { rope_type: 'yarn', factor: 2 } }, 'rope_parameters.rope_type is "yarn"'],
    ['llama', { rope_parameters: null, rope_scaling: { type: 'dynamic' } }, 'rope_scaling.rope_type is "dynamic"'],
    [
      'llama',
      { rope_parameters: { rope_type: 'llama3', factor: 2 } },
      'rope_parameters lacks a number that llama3 needs',
    ],
    ['llama', { hidden_act: 'gelu' }, 'hidden_act is "gelu"'],
    ['llama', { mlp_bias: true }, 'mlp_bias is true'],
    ['llama', { partial_rotary_factor: 0.5 }, 'partial_rotary_factor is 0.5'],
    ['llama', { quantization_config: { bits: 4 } }, 'quantization_config is {"bits":4}'],
    ['llama', { architectures: ['LlamaForQuestionAnswering'] }, 'expected architectures ["LlamaForCausalLM"]'],
    [
      'llama',
      { model_type: 'mistral', architectures: ['MistralForCausalLM'], sliding_window: 16 },
      'sliding_window is 16',
    ],
    ['qwen2', { use_sliding_window: true, sliding_window: 16 }, 'sliding_window is 16'],
    ['qwen2', { layer_types: ['full_attention', 'sliding_attention'] }, 'layer_types is "sliding_attention"'],
    ['llama', { num_key_value_heads: 3 }, 'model.nHead 4 must be divisible by model.nKvHead 3'],
    ['llama', { intermediate_size: 25 }, 'has shape [24,16], but its config.json implies [25,16]'],
    ['llama', { model_type: 'qwen3' }, 'describes another architecture'],
  ])('%s with %j is refused by name', async (name, change, message) => {
    expect(await refusal(name, change)).toContain(message);
  });

  it('is accepted where it makes no difference', async () => {
    const folder = join(cwd, 'mistral');
    cpSync(join(cwd, 'llama'), folder, { recursive: true });
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
    const { rope_parameters: rope, ...others } = config;
    const { rope_theta, ...scaling } = rope;
    const change = {
      model_type: 'mistral',
      architectures: ['MistralForCausalLM'],
      sliding_window: null,
      head_dim: null,
    };
    // As before transformers 5.
    writeFileSync(
      join(folder, 'config.json'),
      JSON.stringify({ ...others, ...change, rope_theta, rope_scaling: scaling }),
    );
    const { modelConfig } = await openCheckpoint(folder);
    expect(modelConfig).toEqual((await openCheckpoint(join(cwd, 'llama'))).modelConfig);
  });
});
