/** Models with adapters as folders: merged, and as an adapter of PEFT. The fixtures are those of test/parity/model/makePeftFixtures.py. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import type { TransformerConfig } from '../../../src/architecture/transformer.ts';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import { openCheckpoint } from '../../../src/checkpoint/openCheckpoint.ts';
import { readSafetensorsHeader } from '../../../src/checkpoint/safetensors.ts';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { Model } from '../../../src/model/model.ts';
import { nextToken } from '../../../src/model/objectives/nextToken.ts';
import { ppo } from '../../../src/model/objectives/policy.ts';
import { parameterSpecs } from '../../../src/model/parameterOrder.ts';
import { Parameters } from '../../../src/model/parameterStore.ts';
import { Tape } from '../../../src/model/tape.ts';
import { Trainer } from '../../../src/model/training.ts';
import { exportAdapter, mergeModel } from '../../../src/run/exportModel.ts';
import { findCheckpoint } from '../../../src/run/findCheckpoint.ts';
import { fillParameters } from '../../../src/run/loadModel.ts';
import { saveCheckpoint } from '../../../src/run/saveCheckpoint.ts';
import { relativeError } from '../../parity/kernels/harness.ts';
import { tinyConfig, tinyLlama } from '../../parity/model/tinyModels.ts';
import { cpu } from './trainedModel.ts';

const fixtures = join(packageRoot, 'test/parity/model/fixtures/peft');
const expected = JSON.parse(readFileSync(join(fixtures, 'expected.json'), 'utf8'));
const tokens = Int32Array.from(expected.tokens as number[]);
let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-merge-'));
  cpSync(fixtures, cwd, { recursive: true });
});
afterAll(() => rmSync(cwd, { recursive: true }));

const choiceOf = (path: string) => ({ path, cwd, engine: cpu, onWarning: () => {} });

async function logitsOf(path: string, rows = tokens): Promise<Float32Array> {
  const checkpoint = await openCheckpoint(path);
  const engine = await createEngine(cpu);
  const parameters = new Parameters(engine, parameterSpecs(checkpoint.modelConfig), { training: false });
  await fillParameters(parameters, checkpoint);
  const tape = new Tape(engine);
  const { value } = new Model(engine, checkpoint.modelConfig, parameters).forward(tape, tape.upload(rows, [3, 8]));
  const logits = new Float32Array(value.size);
  await engine.download(value, logits);
  tape.discard();
  await engine.dispose();
  return logits;
}

it("has PEFT's logits for the last tokens of a classifier", async () => {
  const logits = await logitsOf(join(cwd, 'classes'));
  const last = Float32Array.from(
    [0, 1, 2].flatMap((row) => [...logits.subarray((row * 8 + 7) * 3, (row * 8 + 8) * 3)]),
  );
  expect(relativeError(last, Float32Array.from(expected.adapters.classes.logits))).toBeLessThan(1e-5);
});

it.each(['lm', 'classes'])(
  "merges %s into a folder of Hugging Face's, with the same logits to the bit",
  async (name) => {
    const { path } = await mergeModel(choiceOf(name), `merged/${name}`);
    expect(readdirSync(path).sort()).toEqual(['config.json', 'model.safetensors']);
    expect(JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'))).toMatchObject({
      architectures: [name === 'lm' ? 'GPT2LMHeadModel' : 'GPT2ForSequenceClassification'],
      model_type: 'gpt2',
    });
    const { modelConfig, tensors } = await openCheckpoint(path);
    expect(modelConfig).toMatchObject({ loraRank: 0, labels: name === 'lm' ? [] : ['LABEL_0', 'LABEL_1', 'LABEL_2'] });
    expect(tensors.some(({ name: each }) => each.includes('lora'))).toBe(false);
    const logits = await logitsOf(path);
    expect(logits.some((logit) => logit !== 0)).toBe(true);
    expect(logits).toEqual(await logitsOf(join(cwd, name)));
  },
);

it('refuses a folder that exists, and a model without adapters, and leaves nothing', async () => {
  mkdirSync(join(cwd, 'there'));
  await expect(mergeModel(choiceOf('lm'), 'there')).rejects.toThrow('there already exists: choose another folder');
  await expect(exportAdapter(choiceOf('lm'), 'there', 'base')).rejects.toThrow('there already exists');
  await expect(mergeModel(choiceOf('base'), 'new')).rejects.toThrow(
    'base has no adapters: it is a complete model already',
  );
  await expect(exportAdapter(choiceOf('base'), 'new')).rejects.toThrow('has no adapters');
  expect(existsSync(join(cwd, 'new'))).toBe(false);
});

it.each(['lm', 'classes'])("exports %s as PEFT has it, with the base's folder", async (name) => {
  const { path, base } = await exportAdapter(choiceOf(name), `exported/${name}`, 'base');
  expect(base).toBe(join(cwd, 'base'));
  const [own, theirs] = [path, join(cwd, name)].map((folder) =>
    JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')),
  );
  for (const [key, value] of Object.entries(own)) {
    if (key === 'base_model_name_or_path') expect(value).toBe(base);
    else if (key === 'modules_to_save' && name === 'classes')
      expect(theirs[key]).toEqual(expect.arrayContaining(value as string[]));
    else if (key === 'target_modules') expect([...(value as string[])].sort()).toEqual([...theirs[key]].sort());
    else expect(value, key).toEqual(theirs[key]);
  }
  expect(await logitsOf(path)).toEqual(await logitsOf(join(cwd, name)));
});

it('exports with the base of the adapters by default, and refuses a base with adapters: PEFT could not load it', async () => {
  expect((await exportAdapter(choiceOf('lm'), 'default')).base).toBe(join(cwd, 'base'));
  await expect(exportAdapter(choiceOf('lm'), 'none', 'lm')).rejects.toThrow(/lm has adapters itself.*\(--base\)/);
});

it('exports for published weights by name, and refuses a base with other weights', async () => {
  expect((await exportAdapter(choiceOf('lm'), 'published', 'openai-community/gpt2')).base).toBe(
    'openai-community/gpt2',
  );
  await mergeModel(choiceOf('lm'), 'other');
  await expect(exportAdapter(choiceOf('lm'), 'none', 'other')).rejects.toThrow(
    /other is not the base of .*c_attn\.weight differs/,
  );
});

it('leaves out the value head of PPO, and says so: merged, from a complete model too, and as an adapter', async () => {
  const engine = await createEngine(cpu);
  const tokenizer = await createTokenizer('byte', '');
  const base = { ...tinyConfig, vocabSize: tokenizer.vocabSize, valueHead: false };
  const llama = { ...tinyLlama, vocabSize: tokenizer.vocabSize, valueHead: true };
  const save = (name: string, config: Gpt2Config | TransformerConfig) => {
    const objective = config.valueHead ? ppo({ clip: 0.2, beta: 0, valueClip: 0, valueCoefficient: 1 }) : nextToken;
    return saveCheckpoint(name, new Trainer(engine, config, { seed: 1, objective }), {
      step: 1,
      dataset: { tokenizer, sha256: '0'.repeat(64) },
      cwd,
    });
  };
  await save('plainRun', base);
  await save('ppoRun', { ...base, valueHead: true });
  await save('ppoLoraRun', { ...base, valueHead: true, loraRank: 2 });
  await save('ppoLlamaRun', llama);
  await engine.dispose();
  const warnings: string[] = [];
  const choice = (path: string) => ({ ...choiceOf(path), onWarning: (line: string) => void warnings.push(line) });
  expect((await findCheckpoint({ ...choice('ppoLlamaRun'), verify: 'model' })).modelConfig).toMatchObject(llama);
  for (const [name, type] of Object.entries({ ppoRun: 'gpt2', ppoLoraRun: 'gpt2', ppoLlamaRun: 'llama' })) {
    const { path } = await mergeModel(choice(name), `merged/${name}`);
    const { tensors } = await openCheckpoint(path);
    expect(tensors.map((tensor) => tensor.name)).not.toContain('value.weight');
    expect(JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'))).toMatchObject({ model_type: type });
  }
  const { path } = await exportAdapter(choice('ppoLoraRun'), 'exported/ppo', 'plainRun');
  expect(readFileSync(join(path, 'adapter_model.safetensors')).includes('value')).toBe(false);
  expect(warnings).toHaveLength(4);
  expect(warnings[0]).toMatch(/^the value head of .* is left out: only training needs it$/);
});

describe('adapters of a Llama', () => {
  const llama = JSON.parse(readFileSync(join(fixtures, '../peftLlama/expected.json'), 'utf8'));
  beforeAll(() => cpSync(join(fixtures, '../peftLlama'), join(cwd, 'llama'), { recursive: true }));
  const adapter = (path: string) => join(path, 'adapter_model.safetensors');
  const configOf = (path: string) => JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8'));
  const tensorsOf = async (path: string) => {
    const { entries } = await readSafetensorsHeader(adapter(path));
    const bytes = readFileSync(adapter(path));
    return new Map(
      entries.map(({ name, shape, begin, end }) => [name, `${shape} ${bytes.toString('hex', begin, end)}`]),
    );
  };

  it("have PEFT's logits, and are written as PEFT has them, one for each layer", async () => {
    const path = join(cwd, 'llama/lm');
    const { modelConfig } = await openCheckpoint(path);
    expect(modelConfig).toMatchObject({ loraRank: 3, loraTargets: ['qkv_proj', 'o_proj', 'gate_up_proj'] });
    const logits = await logitsOf(path, Int32Array.from(llama.tokens));
    expect(relativeError(logits, Float32Array.from(llama.logits))).toBeLessThan(1e-5);
    const exported = await exportAdapter(choiceOf('llama/lm'), 'exported/llama', 'llama/base');
    expect(await tensorsOf(exported.path)).toEqual(await tensorsOf(path));
    const [own, theirs] = [configOf(exported.path), configOf(path)];
    expect([...own.target_modules].sort()).toEqual([...theirs.target_modules].sort());
    expect(own).toMatchObject({ fan_in_fan_out: false, r: 3, lora_alpha: 8 });
    const merged = await mergeModel(choiceOf('llama/lm'), 'merged/llama');
    expect(await logitsOf(merged.path, Int32Array.from(llama.tokens))).toEqual(logits);
  });

  it('are refused by name where one adapter of the merged layers cannot compute the same', async () => {
    const path = join(cwd, 'llama/other');
    cpSync(join(cwd, 'llama/lm'), path, { recursive: true });
    writeFileSync(
      join(path, 'adapter_config.json'),
      JSON.stringify({ ...configOf(path), target_modules: ['q_proj', 'v_proj'] }),
    );
    await expect(openCheckpoint(path)).rejects.toThrow(
      /expected a list of q_proj with k_proj with v_proj, o_proj, gate_proj with/,
    );
    cpSync(join(cwd, 'llama/lm/adapter_config.json'), join(path, 'adapter_config.json'));
    const { entries } = await readSafetensorsHeader(adapter(path));
    const { begin } = entries.find(({ name }) => name.endsWith('k_proj.lora_A.weight'))!;
    const bytes = readFileSync(adapter(path));
    bytes.writeFloatLE(7, begin);
    writeFileSync(adapter(path), bytes);
    await expect(openCheckpoint(path)).rejects.toThrow(
      /q_proj.lora_A.weight, .*v_proj.lora_A.weight differ, but Lockstep has one adapter for these layers/,
    );
  });

  it('are not exported for a model that transformers does not have', async () => {
    const engine = await createEngine(cpu);
    const tokenizer = await createTokenizer('byte', '');
    const config = { ...tinyLlama, vocabSize: tokenizer.vocabSize, norm: 'layer' as const, loraRank: 2 };
    const dataset = { tokenizer, sha256: '0'.repeat(64) };
    await saveCheckpoint('ownRun', new Trainer(engine, config, { seed: 1 }), { step: 1, dataset, cwd });
    await engine.dispose();
    await expect(exportAdapter(choiceOf('ownRun'), 'none', 'llama/base')).rejects.toThrow(
      'is a transformer that transformers does not have, so PEFT has no base for its adapters',
    );
  });
});
