/** A training loop in user code saves, and continues from what it saved to the same bits. */
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { IsTrained } from '../../../src/architecture/parameters.ts';
import type { ModelConfig } from '../../../src/architecture/registry.ts';
import { UserError } from '../../../src/base/errors.ts';
import { openCheckpoint } from '../../../src/checkpoint/openCheckpoint.ts';
import { readSafetensorsHeader } from '../../../src/checkpoint/safetensors.ts';
import type { ConfigInput } from '../../../src/config/configTypes.ts';
import { renderConfig } from '../../../src/config/render.ts';
import { configSchema } from '../../../src/config/schema.ts';
import type { Dataset } from '../../../src/data/dataset.ts';
import { openDataset } from '../../../src/data/openDataset.ts';
import { trainBatch } from '../../../src/data/sampler.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { seq2seq } from '../../../src/model/objectives/seq2seq.ts';
import { Trainer } from '../../../src/model/training.ts';
import { prepareRun } from '../../../src/run/prepareRun.ts';
import { restoreCheckpoint, saveCheckpoint } from '../../../src/run/saveCheckpoint.ts';
import { loadCheckpoint } from '../../../src/run/trainedModel.ts';
import { tinyEncoderDecoder } from '../../parity/model/sourceBatches.ts';
import { collect } from '../checkpoint/tinyCheckpoint.ts';
import { cpu } from './trainedModel.ts';

const blockSize = 8;
const sizes = { blockSize, nLayer: 2, nHead: 2, nEmbd: 8 };
const form = { architecture: 'gpt2', dropout: 0, bias: true, activation: 'gelu', tiedHead: true } as const;
let folder = '';
let engine: Engine;
let dataset: Dataset;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-loop-'));
  engine = await createEngine(cpu);
  const data = { text: 'src', tokenizer: 'byte', valFraction: 0.1 } as const;
  dataset = await openDataset(data, { blockSize, cwd: process.cwd() });
});
afterAll(async () => {
  await engine.dispose();
  rmSync(folder, { recursive: true });
});

const newTrainer = (seed: number, nLayer = 2, isTrained?: IsTrained, averaged = false) =>
  new Trainer(engine, { ...sizes, ...form, nLayer, vocabSize: dataset.vocabSize }, { seed, isTrained, averaged });
const isOfBlock1: IsTrained = ({ name }) => name.startsWith('transformer.h.1.');

async function trainSteps(trainer: Trainer, from: number, to: number): Promise<Float32Array> {
  for (let step = from; step < to; step++) {
    const sampling = { seed: 3, step, from: 0, count: 2, globalBatchSize: 2, blockSize, sampler: 'random' } as const;
    const batch = trainBatch(dataset, sampling);
    await trainer.microStep({ ...batch, lossScale: 1 / batch.weight });
    const adamw = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, gradClip: 1 };
    const ema = trainer.parameters.average === undefined ? 0 : 0.7;
    await trainer.applyAdamw({ ...adamw, ema, learningRate: 0.01, step: step + 1 });
  }
  const parameters = new Float32Array(trainer.parameters.count);
  await trainer.parameters.exportState('params', parameters);
  return parameters;
}

describe('saveCheckpoint and restoreCheckpoint', () => {
  it('continue to the same bits, optimizer included', async () => {
    const trainer = newTrainer(1);
    await trainSteps(trainer, 0, 3);
    const path = await saveCheckpoint('loop', trainer, { step: 3, dataset, valLoss: 2.5, cwd: folder });
    expect(path).toBe(join(folder, 'loop', 'step-00000003'));
    // Byte 256 ends a text; transformers stops at it, and would at 50256 if nothing was said.
    const written = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'));
    expect(written).toMatchObject({ bos_token_id: 256, eos_token_id: 256 });
    const uninterrupted = await trainSteps(trainer, 3, 5);
    const another = newTrainer(2);
    // Gradients that wait for an update are not part of the restored state.
    const batch = trainBatch(dataset, {
      seed: 9,
      step: 0,
      from: 0,
      count: 2,
      globalBatchSize: 2,
      blockSize,
      sampler: 'random',
    });
    await another.microStep({ ...batch, lossScale: 1 });
    expect(await restoreCheckpoint('loop', another, { cwd: folder })).toEqual({ path, step: 3, hasOptimizer: true });
    expect(await trainSteps(another, 3, 5)).toEqual(uninterrupted);
  });

  it('are read by what reads the checkpoints of runs', async () => {
    const model = await loadCheckpoint('loop', { cwd: folder, engine: cpu });
    expect(model).toMatchObject({ step: 3, config: { nLayer: 2, nEmbd: 8 } });
    expect(model.description).toContain('validation loss 2.5000');
    let text = '';
    for await (const piece of model.generate('a', { maxTokens: 3 })) text += piece;
    expect(text).not.toBe('');
    await model.dispose();
  });

  it('fine-tune weights that have no optimizer state', async () => {
    const bare = join(folder, 'bare');
    cpSync(join(folder, 'loop', 'step-00000003'), bare, { recursive: true });
    for (const name of ['manifest.json', 'trainer.json', 'optimizer.safetensors']) rmSync(join(bare, name));
    const [trainer, original] = [newTrainer(4), newTrainer(5)];
    expect(await restoreCheckpoint(bare, trainer)).toEqual({ path: bare, step: 0, hasOptimizer: false });
    await restoreCheckpoint(join(folder, 'loop'), original);
    expect(await trainSteps(trainer, 0, 0)).toEqual(await trainSteps(original, 0, 0));
  });

  it('continue to the same bits where parameters are frozen, which have no moments in the file', async () => {
    const trainer = newTrainer(1, 2, isOfBlock1);
    await trainSteps(trainer, 0, 3);
    const path = await saveCheckpoint('frozen', trainer, { step: 3, dataset, cwd: folder });
    const { entries } = await readSafetensorsHeader(join(path, 'optimizer.safetensors'));
    const { specs, trained } = trainer.parameters;
    expect(trained.length).toBeLessThan(specs.length);
    expect(entries.map(({ name }) => name)).toEqual(
      ['m', 'v'].flatMap((moment) => trained.map(({ name }) => `${moment}.${name}`)),
    );
    const uninterrupted = await trainSteps(trainer, 3, 5);
    const another = newTrainer(2, 2, isOfBlock1);
    expect(await restoreCheckpoint('frozen', another, { cwd: folder })).toEqual({ path, step: 3, hasOptimizer: true });
    expect(await trainSteps(another, 3, 5)).toEqual(uninterrupted);
  });

  it('start the moments anew where more is trained than was, and take those that are wanted where less is', async () => {
    const all = newTrainer(6);
    expect(await restoreCheckpoint('frozen', all, { cwd: folder })).toMatchObject({ step: 3, hasOptimizer: false });
    const m = new Float32Array(all.parameters.count);
    await all.parameters.exportState('m', m);
    expect(m.every((value) => value === 0)).toBe(true);
    const some = newTrainer(7, 2, isOfBlock1);
    expect(await restoreCheckpoint('loop', some, { cwd: folder })).toMatchObject({ hasOptimizer: true });
    const whole = newTrainer(8);
    await restoreCheckpoint('loop', whole, { cwd: folder });
    const { name, size } = some.parameters.trained[0]!;
    for (const part of ['params', 'm', 'v'] as const) {
      const [one, other] = [new Float32Array(size), new Float32Array(size)];
      await some.parameters.readTensor(part, some.parameters.indexOf(name), one);
      await whole.parameters.readTensor(part, whole.parameters.indexOf(name), other);
      expect(one).toEqual(other);
      expect(one.some((value) => value !== 0)).toBe(true);
    }
  });

  it('keep the average of the weights as the model, and continue with the weights', async () => {
    const trainer = newTrainer(1, 2, isOfBlock1, true);
    await trainSteps(trainer, 0, 3);
    const { parameters } = trainer;
    const average = new Float32Array(parameters.trained.reduce((sum, { size }) => sum + size, 0));
    await parameters.exportState('average', average);
    const path = await saveCheckpoint('averaged', trainer, { step: 3, dataset, cwd: folder });
    const uninterrupted = await trainSteps(trainer, 3, 5);
    const later = new Float32Array(average.length);
    await parameters.exportState('average', later);

    const another = newTrainer(2, 2, isOfBlock1, true);
    expect(await restoreCheckpoint(path, another)).toMatchObject({ step: 3, hasOptimizer: true });
    expect(await trainSteps(another, 3, 5)).toEqual(uninterrupted);
    const resumed = new Float32Array(average.length);
    await another.parameters.exportState('average', resumed);
    expect(resumed).toEqual(later);

    // Others read the average; a trainer without one continues with the weights.
    const model = await openCheckpoint(path, { verify: 'model' });
    const names = parameters.trained.map(({ name }) => name);
    expect(await collect(model.stream('model', names))).toEqual(average);
    const plain = newTrainer(3, 2, isOfBlock1);
    await restoreCheckpoint(path, plain);
    expect(await trainSteps(plain, 3, 5)).toEqual(uninterrupted);
    // And a trainer with one begins it with the weights of a checkpoint without.
    const begun = newTrainer(4, 2, isOfBlock1, true);
    await restoreCheckpoint('frozen', begun, { cwd: folder });
    const [weights, started] = [new Float32Array(average.length), new Float32Array(average.length)];
    for (const [i, { name, size }] of begun.parameters.trained.entries()) {
      const at = begun.parameters.trained.slice(0, i).reduce((sum, spec) => sum + spec.size, 0);
      await begun.parameters.readTensor('params', begun.parameters.indexOf(name), weights.subarray(at, at + size));
    }
    await begun.parameters.exportState('average', started);
    expect(started).toEqual(weights);
  });

  it('are refused by a run that trains other parameters, or with another optimizer', async () => {
    const run = join(folder, 'run');
    const data = { text: resolve('src'), tokenizer: 'byte', valFraction: 0.1 } as const;
    const config = { data, model: { ...form, ...sizes }, sample: { maxTokens: 0 } };
    const resume = (...overrides: string[]) =>
      prepareRun({ resume: run, set: overrides, singleProcess: true, encrypt: true, dryRun: true }, folder, {
        note: () => {},
        warn: () => {},
        progress: () => () => {},
      });
    const trainer = newTrainer(1);
    await saveCheckpoint('run/checkpoints', trainer, { step: 1, dataset, config, cwd: folder });
    writeFileSync(join(run, 'config.yaml'), renderConfig(configSchema.parse(config)));
    expect((await resume()).resume?.trainer?.step).toBe(1);
    const ofBlock1 = 'train.trainable=transformer.h.1.*';
    await expect(resume(ofBlock1)).rejects.toThrow(
      /transformer\.wte\.weight was trained, but with train\.trainable: "transformer\.h\.1\.\*" it is frozen: a run resumes with its own/,
    );
    const frozen = newTrainer(1, 2, isOfBlock1);
    await saveCheckpoint('run/checkpoints', frozen, { step: 2, dataset, config, cwd: folder });
    await expect(resume()).rejects.toThrow(
      /transformer\.wte\.weight was frozen, but with train\.trainable: "all" it is/,
    );
    expect((await resume(ofBlock1)).resume?.trainer?.step).toBe(2);
    await expect(resume(ofBlock1, 'optimizer.kind=muon')).rejects.toThrow(
      /was written by a run with optimizer\.kind adamw, but the config says muon: a run resumes with its own optimizer/,
    );
    const muon = new Trainer(engine, trainer.model.config, { seed: 1, muon: true });
    const path = await saveCheckpoint('run/checkpoints', muon, { step: 3, dataset, config, cwd: folder });
    await expect(resume()).rejects.toThrow(/by a run with optimizer\.kind muon, but the config says adamw/);
    expect((await resume('optimizer.kind=muon')).resume?.trainer?.step).toBe(3);
    // As a file in which the second moments of AdamW are missing.
    const [trainerPath, manifestPath] = ['trainer.json', 'manifest.json'].map((name) => join(path, name));
    const text = readFileSync(trainerPath!, 'utf8').replace('"muon"', '"adamw"');
    writeFileSync(trainerPath!, text);
    const manifest = JSON.parse(readFileSync(manifestPath!, 'utf8'));
    manifest.files['trainer.json'] = { bytes: text.length, sha256: createHash('sha256').update(text).digest('hex') };
    writeFileSync(manifestPath!, JSON.stringify(manifest));
    await expect(resume()).rejects.toThrow(
      /trainer\.json says optimizer\.kind adamw, but optimizer\.safetensors has the moments of muon/,
    );
  });

  it('record the task of a model with an encoder and rows, and the optimizer of the trainer', async () => {
    const model: ModelConfig = { ...tinyEncoderDecoder, vocabSize: dataset.vocabSize };
    const trainer = new Trainer(engine, model, { seed: 1, objective: seq2seq, muon: true });
    const recorded = async (step: number, config?: ConfigInput) => {
      const path = await saveCheckpoint('recorded', trainer, { step, dataset, cwd: folder, ...(config && { config }) });
      return (await openCheckpoint(path)).trainer?.config;
    };
    const optimizer = { kind: 'muon', weightDecay: 0.3 };
    expect(await recorded(1, { data: { examples: 'rows.jsonl' }, optimizer: { weightDecay: 0.3 } })).toMatchObject({
      ...{ model: { architecture: 'encoderDecoder', nEmbd: model.nEmbd }, task: { kind: 'seq2seq' }, optimizer },
    });
    // A run of this task has rows; without them only config.json describes the model.
    expect(await recorded(2)).toMatchObject({ task: { kind: 'lm' }, optimizer: { kind: 'muon' } });
    await expect(recorded(3, { data: { examples: 'rows.jsonl' }, task: { kind: 'sft' } })).rejects.toThrow(
      /task\.kind = "sft" .*must be seq2seq for a model with an encoder/,
    );
  });

  it('keep the newest and the best', async () => {
    const trainer = newTrainer(1);
    for (const [step, valLoss] of [
      [1, 2],
      [2, 3],
      [3, 3],
      [4, 3],
    ] as const)
      await saveCheckpoint('kept', trainer, { step, dataset, valLoss, keep: 2, cwd: folder });
    expect(readdirSync(join(folder, 'kept')).sort()).toEqual(['step-00000001', 'step-00000003', 'step-00000004']);
  });

  it('say how many samples were seen, where that is known', async () => {
    const trainer = newTrainer(1, 1);
    const samplesAfter = async (step: number, more: { samplesSeen?: number; config?: ConfigInput }) => {
      const path = await saveCheckpoint('samples', trainer, { step, dataset, cwd: folder, ...more });
      return JSON.parse(readFileSync(join(path, 'trainer.json'), 'utf8')).data.samplesSeen;
    };
    const config = { train: { globalBatchSize: 24 } };
    expect(await samplesAfter(1, {})).toBe(0);
    expect(await samplesAfter(2, { config })).toBe(48);
    expect(await samplesAfter(3, { config, samplesSeen: 7 })).toBe(7);
    await expect(samplesAfter(4, { samplesSeen: -1 })).rejects.toThrow(/samplesSeen: expected a whole number/);
  });

  it('refuse other sizes, a folder that is not a checkpoint, and invalid steps', async () => {
    const before = await trainSteps(newTrainer(1, 1), 0, 0);
    const trainer = newTrainer(1, 1);
    const other = restoreCheckpoint('loop', trainer, { cwd: folder });
    await expect(other).rejects.toThrow(UserError);
    await expect(other).rejects.toThrow(/has a model with nLayer = 2, but the trainer's has 1/);
    expect(await trainSteps(trainer, 0, 0)).toEqual(before);
    await expect(restoreCheckpoint('absent', trainer, { cwd: folder })).rejects.toThrow(/folder .*absent not found/);
    await expect(saveCheckpoint('x', trainer, { step: 0.5, dataset })).rejects.toThrow(/step: expected a whole number/);
    await expect(
      saveCheckpoint('x', trainer, { step: 1, dataset, config: { train: { maxSteps: 0 } }, cwd: folder }),
    ).rejects.toThrow(/train\.maxSteps: expected/);
  });
});
