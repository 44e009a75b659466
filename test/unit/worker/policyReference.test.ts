/** A worker that takes the weights at the start of a policy from a file of a run: those of the file, whatever it began with. */
import { createHash } from 'node:crypto';
import { afterEach, expect, it } from 'vitest';
import { PeerError } from '../../../src/base/errors.ts';
import { fileTensorsOf } from '../../../src/checkpoint/modelConfig.ts';
import { encodeSafetensorsHeader } from '../../../src/checkpoint/safetensors.ts';
import type { ConfigInput } from '../../../src/config/configTypes.ts';
import { modelOf } from '../../../src/config/groups/model.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { fillInitial } from '../../../src/model/initialValues.ts';
import { parameterSpecs } from '../../../src/model/parameterOrder.ts';
import { InProcessReplica } from '../../engines/inProcessReplica.ts';
import { testEngines } from '../../engines/testEngines.ts';
import { tinyConfig, tinyLlama } from '../../parity/model/tinyModels.ts';

const { vocabSize } = tinyConfig;
const models = { gpt2: tinyConfig, llama: tinyLlama, 'llama with biases': { ...tinyLlama, bias: 'qkv' } } as const;
const replicas: InProcessReplica[] = [];
afterEach(async () => {
  for (const replica of replicas.splice(0)) await replica.close();
});

function configOf(model: keyof typeof models, kind: 'grpo' | 'ppo', seed: number) {
  const input = {
    model: { ...models[model], ...(kind === 'ppo' && { valueHead: true }) },
    task: { kind },
    data: { examples: 'prompts.jsonl' },
    train: { seed, globalBatchSize: 16, microBatchSize: 4 },
    eval: { everySteps: 0 },
    sample: { maxTokens: 0 },
    engine: { name: 'native', threads: 1 },
  };
  return configSchema.parse(input as ConfigInput);
}

async function built(...[model, kind, seed]: Parameters<typeof configOf>): Promise<InProcessReplica> {
  const replica = new InProcessReplica(testEngines);
  replicas.push(replica);
  const config = configOf(model, kind, seed);
  const job = { config, vocabSize, objective: kind, threads: 1, localIndex: 0, trace: false };
  await replica.build(job as unknown as Parameters<InProcessReplica['build']>[0]);
  return replica;
}

/** The file of weights of step 0, and the names of its tensors. */
function fileOf(...[model, kind, seed]: Parameters<typeof configOf>) {
  const config = modelOf(configOf(model, kind, seed).model, vocabSize);
  const specs = parameterSpecs(config);
  const tensors = fileTensorsOf(specs, config);
  const numbers = specs.map((spec) => {
    const values = new Float32Array(spec.size);
    fillInitial(values, spec, seed);
    return Buffer.from(values.buffer);
  });
  const file = new Uint8Array(Buffer.concat([encodeSafetensorsHeader(tensors, { format: 'pt' }), ...numbers]));
  return { file, sha256: createHash('sha256').update(file).digest('hex'), names: tensors.map(({ name }) => name) };
}

const cases = [
  { model: 'gpt2', kind: 'grpo' },
  { model: 'gpt2', kind: 'ppo' },
  { model: 'llama', kind: 'grpo' },
  { model: 'llama with biases', kind: 'grpo' },
] as const;

it.each(cases)('takes the start of a $model with $kind', async ({ model, kind }) => {
  const [one, other] = [await built(model, kind, 1), await built(model, kind, 2)];
  const expected = await other.referenceHash();
  expect(await one.referenceHash()).not.toBe(expected);
  await one.takeReference(fileOf(model, kind, 2));
  expect(await one.referenceHash()).toBe(expected);
});

it('a Llama for others has its queries, keys and values apart', () => {
  const { names } = fileOf('llama', 'grpo', 1);
  expect(names).toContain('model.layers.0.self_attn.k_proj.weight');
  expect(names).not.toContain('model.layers.0.self_attn.qkv_proj.weight');
});

it('refuses a file of another model, or another file', async () => {
  const replica = await built('llama', 'grpo', 1);
  const taken = replica.takeReference(fileOf('gpt2', 'grpo', 1));
  await expect(taken).rejects.toThrow(PeerError);
  await expect(taken).rejects.toThrow(/^the reference has tensor "transformer\./);
  await expect(replica.takeReference({ ...fileOf('llama', 'grpo', 1), sha256: 'f'.repeat(64) })).rejects.toThrow(
    'expected ffff',
  );
});
