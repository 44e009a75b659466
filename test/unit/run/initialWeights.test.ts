/** What a run that begins with other weights takes from them, and what it refuses. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import type { Checkpoint } from '../../../src/checkpoint/checkpoint.ts';
import { openCheckpoint } from '../../../src/checkpoint/openCheckpoint.ts';
import { SHARD_INDEX_FILE } from '../../../src/checkpoint/shardIndex.ts';
import { CheckpointStore } from '../../../src/checkpoint/store.ts';
import { modelOf } from '../../../src/config/groups/model.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { parameterSpecs } from '../../../src/model/parameterOrder.ts';
import { Parameters } from '../../../src/model/parameterStore.ts';
import {
  checkStartOfPolicy,
  noteInitialWeights,
  openInitialWeights,
  writeInitialCheckpoint,
} from '../../../src/run/initialWeights.ts';
import { prepareRun, type Run, type RunArguments } from '../../../src/run/prepareRun.ts';
import { cpu, trainRun } from './trainedModel.ts';

const engine = ['engine.name=tfjs', 'engine.deviceKind=cpu'];
const text = join(packageRoot, 'test/fixtures/gpt2/text.txt');
let cwd: string;
beforeAll(async () => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-weights-'));
  for (const name of ['sharded', 'bare']) {
    cpSync(join(packageRoot, 'test/fixtures/gpt2', name), join(cwd, name), { recursive: true });
  }
  await (await trainRun(join(cwd, 'chars'))).dispose();
});
afterAll(() => rmSync(cwd, { recursive: true }));

const notes: string[] = [];
const tell = (line: string) => void notes.push(line);
const messages = { note: tell, warn: tell, progress: () => () => {} };
function prepare(initFrom: string, set: readonly string[], more: Partial<RunArguments> = {}): Promise<Run> {
  const overrides = ['sample.maxTokens=0', ...engine, ...set];
  return prepareRun(
    { singleProcess: true, encrypt: true, dryRun: true, initFrom, set: overrides, ...more },
    cwd,
    messages,
  );
}

it('has the sizes and the tokenizer of the weights, whatever a shipped config says, and its own dropout', async () => {
  const { config, weights } = await prepare('sharded', [`data.text=${text}`, 'model.dropout=0.2', 'model.nHead=2']);
  const { nLayer, nHead, nEmbd, blockSize, bias } = { ...config.model } as Record<string, unknown>;
  expect({ nLayer, nHead, nEmbd, blockSize, bias }).toEqual({
    nLayer: 2,
    nHead: 2,
    nEmbd: 16,
    blockSize: 16,
    bias: true,
  });
  expect(config).toMatchObject({ model: { from: 'sharded', dropout: 0.2 }, data: { tokenizer: 'byte' } });
  expect(weights?.checkpoint.weightFiles).toHaveLength(2);
  const bare = await prepare('bare', [`data.text=${text}`, 'data.tokenizer=byte']);
  expect(bare.config.model).toMatchObject({ bias: false, dropout: 0 });
});

it('takes adapters and dropout from a shipped config that the user names, and sizes from the weights', async () => {
  const args = { singleProcess: true, encrypt: true, dryRun: true, config: 'lora' } as const;
  const set = ['model.from=sharded', `data.text=${text}`, 'eval.everySteps=0', 'sample.maxTokens=0'];
  const { config } = await prepareRun({ ...args, set }, cwd, messages);
  expect(config.model).toMatchObject({ loraRank: 8, loraTargets: ['c_attn'], dropout: 0, nEmbd: 16, blockSize: 16 });
  const own = await prepareRun({ ...args, set: [...set, 'model.dropout=0.1', 'model.loraRank=4'] }, cwd, messages);
  expect(own.config.model).toMatchObject({ loraRank: 4, dropout: 0.1 });
});

it('begins with a run, though its optimizer is gone', async () => {
  rmSync(join(cwd, 'chars/checkpoints/step-00000005/optimizer.safetensors'));
  const { config, weights } = await prepare('chars', ['data.text=chars/text.txt']);
  expect(config.data.tokenizer).toBe('char');
  expect(weights?.checkpoint.step).toBe(5);
});

/** The parameters that begin a run on rows with these weights, by name, its config, and the path of its first checkpoint. */
async function beginOnRows(from: string, set: readonly string[]) {
  const overrides = [`model.from=${from}`, 'train.seed=5', 'data.examples=rows.csv', ...set];
  if (!set.some((key) => key.startsWith('task.kind='))) overrides.push('task.kind=classify');
  const { config: given, chosen } = loadConfig({ overrides, cwd });
  const { config, weights } = await openInitialWeights(given, { chosen, suggested: [], cwd, messages });
  noteInitialWeights(weights, config.model, { cwd, note: tell });
  const { data } = await prepare('sharded', [`data.text=${text}`]);
  const store = new CheckpointStore(join(cwd, `begun-${begun++}`), { keep: 0, onWarning: messages.warn });
  const { path } = await writeInitialCheckpoint(store, weights, { config, data });
  return { path, config, weights, parameters: await parametersOf(await openCheckpoint(path)) };
}
let begun = 0;

async function parametersOf(checkpoint: Checkpoint): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const { name } of checkpoint.tensors) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of checkpoint.stream('model', [name])) chunks.push(chunk);
    values.set(name, new Float32Array(Uint8Array.from(Buffer.concat(chunks)).buffer));
  }
  return values;
}

it('adds a classification head, with the values that the seed gives it in a new model', async () => {
  notes.length = 0;
  const labels = 'model.labels=[ham, spam, other]';
  const { path, config, weights, parameters } = await beginOnRows('sharded', [labels, 'train.trainable=lastBlocks:1']);
  expect(notes.join()).toMatch(/labels ham, spam, other.*; new, with random values: score\.weight(,|$)/);
  const given = await parametersOf(weights.checkpoint);
  expect([...parameters.keys()].sort()).toEqual([...given.keys(), 'score.weight'].sort());
  for (const [name, values] of given) expect(parameters.get(name), name).toEqual(values);
  const engine = await createEngine(cpu);
  const fresh = new Parameters(engine, parameterSpecs(modelOf(config.model, 256)), { training: false });
  fresh.initialise(5);
  const expected = new Float32Array(3 * 16);
  await fresh.readTensor('params', fresh.indexOf('score.weight'), expected);
  await engine.dispose();
  expect(parameters.get('score.weight')).toEqual(expected);

  // Its checkpoint is such a model, whose labels come from there like its sizes.
  for (const set of [[], [labels]]) expect((await beginOnRows(path, set)).parameters).toEqual(parameters);
  await expect(beginOnRows(path, ['model.labels=[spam, ham, other]'])).rejects.toThrow(
    'model.labels is ["spam","ham","other"], but the weights of',
  );
  await expect(beginOnRows(path, ['task.kind=sft'])).rejects.toThrow('expected [], because sft needs a language model');
  notes.length = 0;
  const plain = await beginOnRows(path, ['task.kind=sft', 'model.labels=[]']);
  expect(notes.join()).toMatch(/; not used: score\.weight(,|$)/);
  expect(plain.parameters).toEqual(given);
});

it('keeps a classification head only for the labels that it was trained with', async () => {
  const { path, parameters } = await beginOnRows('sharded', ['model.labels=[a, b]', 'train.seed=4']);
  const trained = parameters.get('score.weight');
  const rows = async (labels: readonly string[]) => {
    writeFileSync(join(cwd, 'classes.csv'), `text,label\n${labels.map((l) => `one,${l}\ntwo,${l}\n`).join('')}`);
    notes.length = 0;
    const set = ['data.examples=classes.csv', 'data.valFraction=0', 'eval.everySteps=0', 'task.kind=classify'];
    return await begunWith(await prepare(path, [...set, 'model.labels=[]', 'train.seed=5']));
  };
  for (const labels of [
    ['a', 'c'],
    ['a', 'b', 'c'],
  ]) {
    const head = (await rows(labels)).get('score.weight');
    expect(notes.join()).toMatch(/; new, with random values: score\.weight; not used: score\.weight(,|$)/);
    expect(head).toHaveLength(labels.length * 16);
    expect(head?.subarray(0, 16)).not.toEqual(trained?.subarray(0, 16));
  }
  expect((await rows(['a', 'b'])).get('score.weight')).toEqual(trained);
  expect(notes.join()).not.toContain('score.weight');
});

/** The parameters that begin the run, by name. */
async function begunWith({ store, weights, config, data }: Run): Promise<Map<string, Float32Array>> {
  const { path } = await writeInitialCheckpoint(store, weights!, { config, data });
  return await parametersOf(await openCheckpoint(path));
}

it('adds adapters, with the values of the seed, and trains those of its weights further', async () => {
  notes.length = 0;
  const set = [`data.text=${text}`, 'eval.everySteps=0'];
  const lora = ['model.loraRank=2', 'model.loraTargets=[mlp.c_proj]'];
  const run = await prepare('sharded', [...set, ...lora]);
  expect(notes.join()).toMatch(
    /LoRA of rank 2 and alpha 16 on mlp\.c_proj, .*; new, .*: transformer\.h\.0\.mlp\.c_proj\.lora_A/,
  );
  const [begun, given] = [await begunWith(run), await parametersOf(run.weights!.checkpoint)];
  expect(begun.size).toBe(given.size + 4);
  for (const [name, values] of given) expect(begun.get(name), name).toEqual(values);
  expect(begun.get('transformer.h.1.mlp.c_proj.lora_B.weight')).toEqual(new Float32Array(16 * 2));
  const a = begun.get('transformer.h.1.mlp.c_proj.lora_A.weight')!;
  const variance = a.reduce((sum, x) => sum + x * x, 0) / a.length;
  expect(variance * 3 * 64).toBeGreaterThan(0.7);
  expect(variance * 3 * 64).toBeLessThan(1.3);
  // Its checkpoint has only moments of the adapters, and its adapters stay as they are.
  const folder = join(run.store.directory, 'step-00000000');
  const { moments } = await openCheckpoint(folder);
  expect(moments.toSorted()).toEqual([...begun.keys()].filter((name) => !given.has(name)).toSorted());
  expect(await begunWith(await prepare(folder, set))).toEqual(begun);
  expect(await begunWith(await prepare(folder, [...set, ...lora]))).toEqual(begun);
  for (const other of ['model.loraRank=0', 'model.loraAlpha=8', 'model.loraTargets=[c_attn]']) {
    await expect(prepare(folder, [...set, other])).rejects.toThrow(
      /have adapters with .* first merge them \(.*\w+ merge\)/,
    );
  }
});

it('refuses trained adapters for a policy that trains only adapters, because its start would be another model', async () => {
  const adapted = await begunWithAdapters();
  const open = (from: string, set: readonly string[]) => {
    const policy = ['data.examples=rows.csv', 'eval.everySteps=0', 'sample.maxTokens=0', 'model.dropout=0'];
    const sizes = ['train.globalBatchSize=16', 'train.microBatchSize=4', 'task.maxTokens=8'];
    const { config, chosen } = loadConfig({ overrides: [`model.from=${from}`, ...policy, ...sizes, ...set], cwd });
    return openInitialWeights(config, { chosen, suggested: [], cwd, messages });
  };
  for (const kind of ['grpo', 'ppo']) {
    const refused = open(adapted, [`task.kind=${kind}`]);
    await expect(refused).rejects.toThrow(UserError);
    await expect(refused).rejects.toThrow(
      `the weights of ${adapted} have adapters, but with task.kind ${kind} the model is compared with the one at the start`,
    );
    await expect(refused).rejects.toThrow(/merge these first \(.* merge .* --out merged\), then start from the merged/);
  }
  // A run that began with them before that was refused is refused when it resumes.
  const resumed = (from: string, kind: string) => {
    const policy = ['eval.everySteps=0', 'model.dropout=0', 'train.globalBatchSize=16', 'train.microBatchSize=4'];
    const set = [`model.from=${from}`, 'model.loraRank=2', 'data.examples=rows.csv', `task.kind=${kind}`];
    return checkStartOfPolicy(loadConfig({ overrides: [...set, ...policy], cwd }).config, 64, cwd);
  };
  await expect(resumed(adapted, 'grpo')).rejects.toThrow(`the weights of ${adapted} have adapters, but with task.kind`);
  await Promise.all([resumed('sharded', 'grpo'), resumed('gone', 'grpo'), resumed(adapted, 'sft')]);
  // A copy of all parameters is compared with, or nothing is, or the adapters are new.
  await open(adapted, ['task.kind=grpo', 'train.trainable=transformer.h.*']);
  await open(adapted, ['task.kind=sft']);
  await open('sharded', ['task.kind=grpo', 'model.loraRank=2']);
});

/** The folder of weights with adapters. */
async function begunWithAdapters(): Promise<string> {
  const run = await prepare('sharded', [`data.text=${text}`, 'eval.everySteps=0', 'model.loraRank=2']);
  const store = new CheckpointStore(join(cwd, 'adapted'), { keep: 0, onWarning: messages.warn });
  return (await writeInitialCheckpoint(store, run.weights!, run)).path;
}

it('warns of adapters of random weights', async () => {
  notes.length = 0;
  await prepare('', [`data.text=${text}`, 'model.loraRank=2'], { initFrom: undefined });
  expect(notes.join()).toContain('model.loraRank adds adapters to random weights, which stay random');
});

it('says what the weights are that do not fit the task, and what to do', async () => {
  await expect(prepare('sharded', ['data.examples=a.jsonl'], { config: 'translate' })).rejects.toThrow(
    'with the weights of sharded: task.kind = "seq2seq" needs a model with an encoder (encoderDecoder), but there is model.architecture = "gpt2". Choose such a model, or task.kind=sft with rows {prompt, completion}',
  );
});

it.each<[string, string[], string]>([
  ['sharded', ['model.nLayer=3'], 'model.nLayer is 3, but the weights of sharded have 2: omit model.nLayer'],
  ['sharded', ['data.tokenizer=char'], 'data.tokenizer is char, but the weights of sharded were trained with byte'],
  [
    'sharded',
    ['train.trainable=transformer.h.2.*'],
    'with the weights of sharded: train.trainable = "transformer.h.2.*" must match parameters',
  ],
  ['bare', ['data.tokenizer=gpt2'], 'model.vocabSize: expected 0 or at least 50257, the size of the gpt2 tokenizer'],
  ['chars', [`data.text=${text}`], 'the text has characters that are not among'],
  ['nowhere', [], 'folder nowhere not found'],
])('refuses %s with %j', async (from, set, message) => {
  const refused = prepare(from, [`data.text=${text}`, ...set]);
  await expect(refused).rejects.toThrow(UserError);
  await expect(refused).rejects.toThrow(message);
});

it('cannot be used to resume a run', async () => {
  writeFileSync(join(cwd, 'chars/config.yaml'), 'model:\n  nLayer: 2\n');
  await expect(prepare('sharded', [], { resume: 'chars' })).rejects.toThrow('omit config, runDir and initFrom');
});

it.each<[string, (index: { weight_map: Record<string, string> }) => void, string]>([
  [
    'a file elsewhere',
    ({ weight_map: map }) => {
      map['transformer.ln_f.bias'] = '../model.safetensors';
    },
    'not the plain name',
  ],
  [
    'a tensor in another file',
    ({ weight_map: map }) => {
      map['transformer.ln_f.bias'] = 'model-00001-of-00002.safetensors';
    },
    'but that file does not',
  ],
  [
    'a tensor too few',
    ({ weight_map: map }) => {
      delete map['transformer.ln_f.bias'];
    },
    'but its files have',
  ],
])('weights in several files: refuses an index with %s', async (_, change, message) => {
  const folder = join(cwd, 'damaged');
  cpSync(join(cwd, 'sharded'), folder, { recursive: true });
  const index = JSON.parse(readFileSync(join(folder, SHARD_INDEX_FILE), 'utf8'));
  change(index);
  writeFileSync(join(folder, SHARD_INDEX_FILE), JSON.stringify(index));
  await expect(openCheckpoint(folder)).rejects.toThrow(message);
});
