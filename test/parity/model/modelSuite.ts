/** The common suite: a complete model on one engine against PyTorch's fixtures and against the float64 engine. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import { isTrainedBy } from '../../../src/architecture/trainable.ts';
import { samplesOf } from '../../../src/base/batch.ts';
import { addSums, meansOf, noSums } from '../../../src/base/sums.ts';
import { learningRateAt } from '../../../src/coordinator/core/schedule.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { Trainer } from '../../../src/model/training.ts';
import { relativeError } from '../kernels/harness.ts';
import { Float64Engine } from './float64Engine.ts';
import { headCases } from './headCases.ts';
import { loraSuite } from './loraSuite.ts';
import { fixtureTraining, fixtureVariants, initialParameters } from './pytorchFixtures.ts';
import { dropoutSource, randomBatch, tinyConfig, variants } from './tinyModels.ts';
import { expectClose, expectGradients, logitsOf, meanLoss, read, relative, split, tolerance } from './trainers.ts';

/** The same for gradients of classes and scores, which come from one position of a row. */
const headTolerance = 1e-5;

export interface ModelSuiteOptions {
  /** The size of the pool depends on how far the device has come, as on a GPU, and is not compared between steps. */
  readonly poolFollowsTiming?: boolean;
  /** One engine runs all tests, because its device compiles each kernel when it is first used. Default: each test has its own. */
  readonly oneEngine?: boolean;
}

export function modelSuite(
  name: string,
  createEngine: () => Promise<Engine>,
  { poolFollowsTiming = false, oneEngine = false }: ModelSuiteOptions = {},
): void {
  describe(name, () => {
    let engine: Engine;
    const [start, end] = oneEngine ? [beforeAll, afterAll] : [beforeEach, afterEach];
    start(async () => {
      engine = await createEngine();
    });
    end(async () => engine.dispose());

    describe('against PyTorch', () => {
      it.each(fixtureVariants)('$name: logits, loss and every gradient', async ({ config, batch, ...expected }) => {
        const trainer = fromFixture(engine, config);
        expectClose(await logitsOf(trainer, batch), expected.logits, 'logits');
        expect(relative((await trainer.evaluate(batch)).loss, expected.lossSum)).toBeLessThan(tolerance);
        expect(relative((await trainer.microStep(meanLoss(batch))).loss, expected.lossSum)).toBeLessThan(tolerance);
        await expectGradients(trainer, expected.gradients);
      });

      it('gradients of microbatches add up to those of the batch', async () => {
        const { config, batch, lossSum, gradients } = fixtureVariants.find(({ name }) => name === 'ignoredTargets')!;
        const trainer = fromFixture(engine, config);
        let sum = 0;
        for (const part of split(batch, [1, 2, 1])) {
          const sums = await trainer.microStep({ ...part, lossScale: meanLoss(batch).lossScale });
          sum += sums.loss;
        }
        expect(relative(sum, lossSum)).toBeLessThan(tolerance);
        await expectGradients(trainer, gradients);
      });

      it('ten steps of AdamW with clipping, decay on matrices and a schedule', async () => {
        const { config, optimizer, schedule, steps, final } = fixtureTraining;
        const trainer = fromFixture(engine, config);
        for (const [index, { batch, ...expected }] of steps.entries()) {
          trainer.zeroGrads();
          const loss = meansOf(await trainer.microStep(meanLoss(batch))).loss;
          const learningRate = learningRateAt(index, schedule);
          expect(learningRate).toBeCloseTo(expected.learningRate, 12);
          const { gradNorm } = await trainer.applyAdamw({ ...optimizer, learningRate, step: index + 1 });
          expect(relative(loss, expected.loss), `loss of step ${index}`).toBeLessThan(tolerance);
          expect(relative(gradNorm, expected.gradNorm), `norm of step ${index}`).toBeLessThan(tolerance);
        }
        for (const [name, values] of await read(trainer, 'params')) expectClose(values, final.get(name)!, name);
      });
    });

    describe('against float64', () => {
      let reference: Float64Engine;
      beforeAll(() => {
        reference = new Float64Engine();
      });
      afterAll(async () => reference.dispose());

      it.each(variants)('$name: loss and every gradient', async ({ config }) => {
        const batch = randomBatch(config, { seed: 8, batchSize: 3, blockSize: config.blockSize - 1, ignoreEvery: 7 });
        const step = { ...meanLoss(batch), dropout: dropoutSource() };
        const [actual, expected] = [engine, reference].map((each) => new Trainer(each, config, { seed: 5 })) as [
          Trainer,
          Trainer,
        ];
        const { loss } = await expected.microStep(step);
        expect(relative((await actual.microStep(step)).loss, loss)).toBeLessThan(tolerance);
        await expectGradients(actual, await read(expected, 'grads'));
      });

      it.each(headCases)(
        '$name: sums and every gradient, in any microbatches, with rows of padding',
        async (headCase) => {
          const { objective, batch, weight } = headCase;
          const config = { ...headCase.config, dropout: 0.2 };
          const [actual, expected] = [engine, reference].map(
            (each) => new Trainer(each, config, { seed: 5, objective }),
          ) as [Trainer, Trainer];
          const lossScale = 1 / weight;
          const sums = await expected.microStep({ ...batch, lossScale, dropout: dropoutSource() });
          let total = noSums;
          let from = 0;
          for (const size of [3, 1, 1]) {
            const part = samplesOf(batch, from, size);
            total = addSums(total, await actual.microStep({ ...part, lossScale, dropout: dropoutSource(from) }));
            from += size;
          }
          expect(total.weight).toBe(weight);
          expect(relative(total.loss, sums.loss)).toBeLessThan(headTolerance);
          const gradients = await read(expected, 'grads');
          for (const [name, gradient] of await read(actual, 'grads')) {
            expect(relativeError(gradient, gradients.get(name)!), name).toBeLessThan(headTolerance);
          }
          const [evaluated, whole] = [await actual.evaluate(batch), await expected.evaluate(batch)];
          expect(Object.keys(evaluated).sort()).toEqual(Object.keys(whole).sort());
          expect(relative(evaluated.loss, whole.loss)).toBeLessThan(headTolerance);
          expect(evaluated).toMatchObject({ weight, accuracy: whole['accuracy'] });
        },
      );

      it('dropout belongs to the sample, not to the microbatch', async () => {
        const config: Gpt2Config = { ...tinyConfig, dropout: 0.3 };
        const batch = randomBatch(config, { seed: 8, batchSize: 4 });
        const whole = new Trainer(reference, config, { seed: 5 });
        await whole.microStep({ ...meanLoss(batch), dropout: dropoutSource() });
        const parts = new Trainer(engine, config, { seed: 5 });
        for (const [index, part] of split(batch, [3, 1]).entries()) {
          const dropout = dropoutSource(3 * index);
          await parts.microStep({ ...part, lossScale: meanLoss(batch).lossScale, dropout });
        }
        await expectGradients(parts, await read(whole, 'grads'));
      });
    });

    it('blocks that are computed again give the same gradients to the bit', async () => {
      const config: Gpt2Config = { ...tinyConfig, dropout: 0.2 };
      const step = { ...meanLoss(randomBatch(config, { seed: 8, batchSize: 3 })), dropout: dropoutSource() };
      const [kept, again] = (['none', 'block'] as const).map((activationRecompute) => {
        return new Trainer(engine, config, { seed: 5, activationRecompute });
      }) as [Trainer, Trainer];
      expect(await again.microStep(step)).toEqual(await kept.microStep(step));
      expect(await read(again, 'grads')).toEqual(await read(kept, 'grads'));
    });

    it.each(['head', 'lastBlocks:1'])(
      '%s: frozen blocks keep nothing, and the gradients are the same to the bit',
      async (trainable) => {
        const { config: plain, objective, batch } = headCases[0]!;
        const config = { ...plain, dropout: 0.2, nLayer: 3 };
        const isTrained = isTrainedBy(trainable);
        const step = { ...batch, lossScale: 1, dropout: dropoutSource() };
        const all = new Trainer(engine, config, { seed: 5, objective });
        const some = new Trainer(engine, config, { seed: 5, objective, isTrained });
        const idle = engine.memory().bytesInUse;
        expect(await some.microStep(step)).toEqual(await all.microStep(step));
        expect(engine.memory().bytesInUse).toBe(idle);
        const gradients = await read(all, 'grads');
        for (const { name, size } of some.parameters.trained) {
          const gradient = new Float32Array(size);
          await some.parameters.readTensor('grads', some.parameters.indexOf(name), gradient);
          expect(gradient, name).toEqual(gradients.get(name));
          expect(gradient.some((value) => value !== 0)).toBe(true);
        }
      },
    );

    loraSuite(() => engine);

    it('an untrained model predicts nothing: its loss is the logarithm of the vocabulary', async () => {
      const config: Gpt2Config = { ...tinyConfig, vocabSize: 300, nEmbd: 32, blockSize: 16 };
      const trainer = new Trainer(engine, config, { seed: 2 });
      const batch = randomBatch(config, { seed: 3, batchSize: 8 });
      const { loss } = meansOf(await trainer.evaluate(batch));
      expect(Math.abs(loss / Math.log(300) - 1)).toBeLessThan(0.02);
    });

    it('gradients are zero after an update, and after zeroGrads if their microbatch is not to count', async () => {
      const trainer = new Trainer(engine, tinyConfig, { seed: 2 });
      const batch = randomBatch(tinyConfig, { seed: 3, batchSize: 2 });
      const allZero = async () =>
        [...(await read(trainer, 'grads')).values()].every((grad) => grad.every((g) => g === 0));
      for (const clear of [
        () => trainer.applyAdamw({ ...fixtureTraining.optimizer, learningRate: 1e-3, step: 1 }),
        () => trainer.zeroGrads(),
      ]) {
        await trainer.microStep(meanLoss(batch));
        expect(await allZero()).toBe(false);
        await clear();
        expect(await allZero()).toBe(true);
      }
    });

    it('steps, evaluations and updates leave the memory as it was', async () => {
      const config: Gpt2Config = { ...tinyConfig, dropout: 0.1, tiedHead: false };
      const trainer = new Trainer(engine, config, { seed: 2 });
      const batch = randomBatch(config, { seed: 3, batchSize: 2 });
      const idle = engine.memory().bytesInUse;
      const step = async (index: number): Promise<void> => {
        trainer.zeroGrads();
        await trainer.microStep({ ...meanLoss(batch), dropout: dropoutSource() });
        await trainer.evaluate(batch);
        await trainer.applyAdamw({ ...fixtureTraining.optimizer, learningRate: 1e-3, step: index });
      };
      await step(1);
      const after = engine.memory();
      for (let index = 2; index < 6; index++) await step(index);
      const { bytesPooled, ...held } = engine.memory();
      expect(held).toEqual({ bytesInUse: after.bytesInUse, bytesPeak: after.bytesPeak });
      if (!poolFollowsTiming) expect(bytesPooled).toBe(after.bytesPooled);
      expect(after.bytesInUse).toBe(idle);
    });
  });
}

function fromFixture(engine: Engine, config: Gpt2Config): Trainer {
  const trainer = new Trainer(engine, config, { seed: 1 });
  for (const [index, { name }] of trainer.parameters.specs.entries()) {
    trainer.parameters.writeTensor('params', index, initialParameters.get(name)!);
  }
  return trainer;
}
