/** A model with adapters on one engine: against the model without, against float64, and against PEFT's own forward and backward. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import { withoutLora } from '../../../src/architecture/lora.ts';
import { isTrainedBy } from '../../../src/architecture/trainable.ts';
import { openCheckpoint } from '../../../src/checkpoint/openCheckpoint.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { Trainer } from '../../../src/model/training.ts';
import { fillParameters } from '../../../src/run/loadModel.ts';
import { tokenBatch } from '../../../src/task/nextToken.ts';
import { Float64Engine } from './float64Engine.ts';
import { fixtureTraining } from './pytorchFixtures.ts';
import { dropoutSource, randomBatch, tinyConfig } from './tinyModels.ts';
import { expectClose, expectGradients, logitsOf, meanLoss, read } from './trainers.ts';

/** An adapter on every linear layer, of a rank that is not a multiple of a vector. */
export const loraConfig: Gpt2Config = {
  ...tinyConfig,
  loraRank: 3,
  loraAlpha: 5,
  loraTargets: ['c_attn', 'c_proj', 'c_fc'],
};

interface PeftExpected {
  readonly tokens: readonly number[];
  readonly targets: readonly number[];
  readonly adapters: Readonly<
    Record<string, { logits: number[]; gradients: Record<string, number[]>; loss: number; trained: number }>
  >;
}

const peftFolder = new URL('./fixtures/peft/', import.meta.url);
const peft = JSON.parse(readFileSync(new URL('expected.json', peftFolder), 'utf8')) as PeftExpected;

export function loraSuite(engineOf: () => Engine): void {
  describe('LoRA', () => {
    let reference: Float64Engine;
    beforeAll(() => {
      reference = new Float64Engine();
    });
    afterAll(async () => reference.dispose());

    const batch = randomBatch(loraConfig, { seed: 8, batchSize: 3, ignoreEvery: 7 });
    const trainerOf = (config: Gpt2Config, trainable = 'all', engine = engineOf()) =>
      new Trainer(engine, config, { seed: 5, isTrained: isTrainedBy(trainable) });

    it('begins as its base, to the bit', async () => {
      const [lora, base] = [trainerOf(loraConfig), trainerOf(withoutLora(loraConfig))];
      expect(await logitsOf(lora, batch)).toEqual(await logitsOf(base, batch));
      expect(await lora.evaluate(batch)).toEqual(await base.evaluate(batch));
    });

    it.each([
      { trainable: 'all', recompute: 'none' },
      { trainable: '*', recompute: 'block' },
    ] as const)('has the gradients of float64, if $trainable is trained', async ({ trainable, recompute }) => {
      const config = { ...loraConfig, dropout: 0.2 };
      const options = { seed: 5, isTrained: isTrainedBy(trainable), activationRecompute: recompute };
      const trainers = [engineOf(), reference].map((engine) => new Trainer(engine, config, options));
      for (const trainer of trainers) {
        moveAdapters(trainer);
        // Two microbatches add up.
        for (const seed of [8, 9]) {
          const part = randomBatch(config, { seed, batchSize: 3 });
          await trainer.microStep({ ...meanLoss(part), dropout: dropoutSource(3 * seed) });
        }
      }
      const [actual, expected] = trainers as [Trainer, Trainer];
      const gradients = await read(expected, 'grads');
      expect([...gradients.keys()].some((name) => name.endsWith('wte.weight'))).toBe(trainable === '*');
      await expectGradients(actual, gradients);
    });

    it('trains only the adapters, and computes as the merged model does, to the bit', async () => {
      const lora = trainerOf(loraConfig);
      const before = await read(lora, 'params');
      for (let step = 1; step <= 3; step++) {
        await lora.microStep(meanLoss(batch));
        await lora.applyAdamw({ ...fixtureTraining.optimizer, learningRate: 1e-2, step });
      }
      for (const [name, values] of await read(lora, 'params')) {
        const isAdapter = /\.lora_[AB]\.weight$/.test(name);
        expect(isSame(values, before.get(name)!), name).toBe(!isAdapter);
      }
      const merged = trainerOf(withoutLora(loraConfig));
      const { parameters } = merged;
      for (const [index, { name, size }] of parameters.specs.entries()) {
        const values = new Float32Array(size);
        await lora.parameters.readMerged(lora.parameters.indexOf(name), values);
        expect(isSame(values, before.get(name)!), name).toBe(!/(attn|proj|fc)\.weight$/.test(name));
        parameters.writeTensor('params', index, values);
      }
      const [logits, expected] = [await logitsOf(merged, batch), await logitsOf(lora, batch)];
      // The float64 engine rounds what is copied out.
      if (engineOf().name === 'float64') expectClose(logits, expected, 'logits', 1e-6);
      else expect(logits).toEqual(expected);
    });

    it('computes with what was imported, at once', async () => {
      const [one, other] = [trainerOf(loraConfig), trainerOf(loraConfig)];
      moveAdapters(one);
      await other.evaluate(batch);
      const count = one.parameters.specs.reduce((sum, { size }) => sum + size, 0);
      const state = new Float32Array(count);
      await one.parameters.exportState('params', state);
      other.parameters.importState('params', state);
      expect(await other.evaluate(batch)).toEqual(await one.evaluate(batch));
    });

    it("has PEFT's logits and gradients, which PyTorch computes from A and B themselves", async () => {
      const { logits, gradients, loss, trained } = peft.adapters['lm']!;
      const checkpoint = await openCheckpoint(fileURLToPath(new URL('lm', peftFolder)));
      const trainer = new Trainer(engineOf(), checkpoint.modelConfig, { seed: 1 });
      await fillParameters(trainer.parameters, checkpoint);
      const peftBatch = tokenBatch(Int32Array.from(peft.tokens), Int32Array.from(peft.targets), 8);
      expectClose(await logitsOf(trainer, peftBatch), Float32Array.from(logits), 'logits', 1e-5);
      const sums = await trainer.microStep({ ...peftBatch, lossScale: 1 });
      expect(Math.abs(sums.loss / loss - 1)).toBeLessThan(1e-5);
      expect(trainer.parameters.trained.reduce((sum, { size }) => sum + size, 0)).toBe(trained);
      const actual = await read(trainer, 'grads');
      for (const [name, gradient] of Object.entries(gradients)) {
        expectClose(actual.get(name)!, Float32Array.from(gradient), name, 1e-5);
      }
    });
  });
}

/** Away from the initial point, where B is 0. */
function moveAdapters({ parameters }: Trainer): void {
  for (const [index, { size, isAdapter }] of parameters.specs.entries()) {
    if (!isAdapter) continue;
    parameters.writeTensor(
      'params',
      index,
      Float32Array.from({ length: size }, (_, i) => 0.2 * Math.sin(1 + i + index)),
    );
  }
}

function isSame(one: Float32Array, other: Float32Array): boolean {
  return Buffer.from(one.buffer).equals(Buffer.from(other.buffer));
}
