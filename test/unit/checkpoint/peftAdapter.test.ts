/** Adapters that PEFT wrote, in the folders of test/parity/model/makePeftFixtures.py, and what is refused. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import { openCheckpoint } from '../../../src/checkpoint/openCheckpoint.ts';
import { temporaryFolder } from './tinyCheckpoint.ts';

const fixtures = join(packageRoot, 'test/parity/model/fixtures/peft');

/** A copy of the fixtures in which the `adapter_config.json` of `name` has these keys. */
function changed(name: string, keys: Readonly<Record<string, unknown>>): string {
  const folder = temporaryFolder();
  cpSync(fixtures, folder, { recursive: true });
  const path = join(folder, name, 'adapter_config.json');
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...keys }));
  return join(folder, name);
}

it('reads an adapter with its base, which its config names', async () => {
  const { modelConfig, tensors, weightFiles, trainingProblem } = await openCheckpoint(join(fixtures, 'lm'));
  expect(modelConfig).toMatchObject({ nEmbd: 16, loraRank: 3, loraAlpha: 8, loraTargets: ['c_attn', 'mlp.c_proj'] });
  expect(tensors).toContainEqual({ name: 'transformer.h.1.attn.c_attn.lora_B.weight', shape: [48, 3] });
  expect(weightFiles).toEqual([
    join(fixtures, 'base/model.safetensors'),
    join(fixtures, 'lm/adapter_model.safetensors'),
  ]);
  expect(trainingProblem).toBeUndefined();
});

it('reads the head of a classifier, whose labels PEFT does not save', async () => {
  const { modelConfig, tensors } = await openCheckpoint(join(fixtures, 'classes'));
  expect(modelConfig).toMatchObject({ labels: ['LABEL_0', 'LABEL_1', 'LABEL_2'], loraRank: 4 });
  expect(tensors).toContainEqual({ name: 'score.weight', shape: [3, 16] });
});

it.each<[string, Record<string, unknown>, string]>([
  ['lm', { use_dora: true }, 'use_dora is true, which is not supported: expected false'],
  ['lm', { use_rslora: true }, 'use_rslora is true'],
  ['lm', { rank_pattern: { c_attn: 4 } }, 'rank_pattern is {"c_attn":4}'],
  ['lm', { alpha_pattern: { c_attn: 4 } }, 'alpha_pattern is {"c_attn":4}'],
  ['lm', { bias: 'all' }, 'bias is "all", which is not supported: expected "none"'],
  ['lm', { layers_to_transform: [0] }, 'layers_to_transform is [0]'],
  ['lm', { fan_in_fan_out: false }, 'fan_in_fan_out is false'],
  ['lm', { modules_to_save: ['wte'] }, 'modules_to_save is ["wte"], which is not supported: expected null'],
  ['classes', { modules_to_save: ['score', 'wte'] }, 'modules_to_save is ["score","wte"]'],
  ['lm', { target_modules: ['c_attn', 'wte'] }, 'target_modules is ["c_attn","wte"]'],
  ['lm', { target_modules: 'all-linear' }, 'target_modules is "all-linear"'],
  ['lm', { task_type: 'SEQ_2_SEQ_LM' }, 'task_type is "SEQ_2_SEQ_LM"'],
  ['lm', { peft_type: 'IA3' }, 'peft_type is "IA3"'],
  ['lm', { r: 0 }, 'adapter_config.json is damaged: r:'],
  ['lm', { r: 4 }, 'has shape [3,16], but its config.json implies [4,16]'],
  ['lm', { target_modules: ['c_attn'] }, 'has tensor "transformer.h.0.mlp.c_proj.lora_A.weight", which the model'],
  ['lm', { target_modules: ['c_attn', 'c_proj'] }, 'lacks tensor transformer.h.0.attn.c_proj.lora_A.weight'],
  [
    'lm',
    { base_model_name_or_path: 'openai-community/gpt2' },
    'base_model_name_or_path is "openai-community/gpt2", which is not',
  ],
  ['lm', { base_model_name_or_path: null }, 'base_model_name_or_path is missing: set it there to the folder'],
  ['lm', { base_model_name_or_path: '../classes' }, 'has adapters itself: merge them first'],
])('refuses %s with %j', async (name, keys, message) => {
  await expect(openCheckpoint(changed(name, keys))).rejects.toThrow(message);
});

it('refuses adapters that name each other', async () => {
  const folder = changed('lm', { base_model_name_or_path: '../other' });
  cpSync(folder, join(folder, '../other'), { recursive: true });
  const path = join(folder, '../other/adapter_config.json');
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), base_model_name_or_path: '../lm' }));
  await expect(openCheckpoint(folder)).rejects.toThrow(/its base .*other has adapters itself: merge them first/);
});

it('computes an adapter that was trained with dropout, and does not train it further', async () => {
  const { trainingProblem } = await openCheckpoint(changed('lm', { lora_dropout: 0.05 }));
  expect(trainingProblem).toMatch(/lora_dropout is 0\.05, but .* set it to 0 there$/);
});
