/** A tiny Llama through every command: trained by two workers, resumed, inspected as a folder of Hugging Face's, generated from, and adapted. */
import { cpSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readSafetensorsHeader } from '../../src/checkpoint/safetensors.ts';
import { launch, lossesOf, set, useFolder } from './launch.ts';

const folder = useFolder();

async function run(args: readonly string[]): Promise<string> {
  const result = await launch(args, folder());
  expect(result.code, result.stderr).toBe(0);
  return result.stdout;
}

const model = ['nLayer=2', 'nHead=4', 'nKvHead=2', 'nEmbd=32', 'nInner=96', 'blockSize=32'].map(
  (key) => `model.${key}`,
);
const training = ['globalBatchSize=8', 'microBatchSize=2'].map((key) => `train.${key}`);
const others = ['schedule.decaySteps=20', 'eval.everySteps=10', 'eval.batches=2', 'sample.maxTokens=0'];

it('trains, resumes to the same bits, generates, and writes a folder that LoRA starts from', async () => {
  const keys = [
    ...model,
    ...training,
    ...others,
    'data.tokenizer=byte',
    'schedule.learningRate=0.01',
    'schedule.warmupSteps=2',
  ];
  const start = ['--config', 'llama-small', '--workers', '2', '--run-dir'];
  await run([...start, 'whole', ...set(...keys, 'train.maxSteps=20')]);
  await run([...start, 'parts', ...set(...keys, 'train.maxSteps=10')]);
  await run(['--resume', 'parts', ...set('train.maxSteps=20')]);
  const weights = (name: string) => join(folder(), name, 'checkpoints/step-00000020/model.safetensors');
  expect(readFileSync(weights('parts')).equals(readFileSync(weights('whole')))).toBe(true);
  const losses = await lossesOf(join(folder(), 'whole'));
  expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.2);

  // The files of transformers, alone.
  const exported = join(folder(), 'exported');
  for (const file of ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']) {
    const from = join(folder(), 'whole/checkpoints/step-00000020', file);
    if (existsSync(from)) cpSync(from, join(exported, file));
  }
  expect(JSON.parse(readFileSync(join(exported, 'config.json'), 'utf8'))).toMatchObject({
    architectures: ['LlamaForCausalLM'],
    num_key_value_heads: 2,
    intermediate_size: 96,
  });
  const { entries } = await readSafetensorsHeader(join(exported, 'model.safetensors'));
  expect(entries.map(({ name }) => name)).toContain('model.layers.1.self_attn.k_proj.weight');
  const sample = ['--prompt', 'the', '--max-tokens', '40', '--seed', '1'];
  const text = await run(['generate', '--checkpoint', 'whole', ...sample]);
  expect(text.length).toBeGreaterThan(40);
  expect(await run(['generate', '--checkpoint', 'exported', ...sample])).toBe(text);

  // The context is free, since no parameter depends on it.
  const adapt = [
    'sample.maxTokens=0',
    'model.loraRank=2',
    'model.blockSize=16',
    'train.trainable=lora',
    'train.maxSteps=2',
  ];
  const notes = await run([
    '--single-process',
    '--init-from',
    'exported',
    '--run-dir',
    'lora',
    ...set(...training, ...adapt),
  ]);
  expect(notes).toMatch(
    /context 16, dropout 0; new, with random values: model\.layers\.0\.self_attn\.qkv_proj\.lora_A/,
  );
  await run(['merge', 'lora', '--out', 'merged']);
  expect((await readSafetensorsHeader(join(folder(), 'merged/model.safetensors'))).entries).toHaveLength(
    entries.length,
  );
  await run(['export', 'lora', '--out', 'adapter']);
  const adapter = await readSafetensorsHeader(join(folder(), 'adapter/adapter_model.safetensors'));
  expect(adapter.entries.map(({ name }) => name)).toContain(
    'base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight',
  );
});
