/** The common suite: preferences between two answers on one engine, against PyTorch's fixture and against generation. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import { type Batch, samplesOf } from '../../../src/base/batch.ts';
import { addSums, noSums, type Sums } from '../../../src/base/sums.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { DecodeBatch } from '../../../src/model/decodeBatch.ts';
import { tokenLogprobs } from '../../../src/model/logprobs.ts';
import { dpo, pairLogprobs } from '../../../src/model/objectives/dpo.ts';
import { Tape } from '../../../src/model/tape.ts';
import { Trainer, type TrainerOptions } from '../../../src/model/training.ts';
import { relativeError } from '../kernels/harness.ts';
import { initialParameters } from './pytorchFixtures.ts';
import { dropoutSource, tinyConfig } from './tinyModels.ts';

interface Fixture {
  readonly beta: number;
  readonly pairs: number;
  readonly tokens: readonly number[];
  readonly targets: readonly number[];
  readonly reference: readonly number[];
  readonly sums: Sums;
  readonly gradients: Readonly<Record<string, { readonly offset: number; readonly length: number }>>;
}

const folder = new URL('./fixtures/', import.meta.url);
const fixture = JSON.parse(readFileSync(new URL('dpo.json', folder), 'utf8')) as Fixture;
const gradients = new Float32Array(new Uint8Array(readFileSync(new URL('dpo.bin', folder))).buffer);
const T = tinyConfig.blockSize;

/** The pairs of the fixture. Its rows are chosen and rejected ones by turns. */
function fixtureBatch(): Batch {
  const side = (rows: readonly number[], first: number) => ({
    shape: [T],
    data: Int32Array.from(rows.filter((_, n) => Math.floor(n / T) % 2 === first)),
  });
  return {
    sampleCount: fixture.pairs,
    arrays: {
      chosen: side(fixture.tokens, 0),
      chosenTargets: side(fixture.targets, 0),
      rejected: side(fixture.tokens, 1),
      rejectedTargets: side(fixture.targets, 1),
      reference: { shape: [2], data: Float32Array.from(fixture.reference) },
    },
  };
}

export function preferenceSuite(name: string, createEngine: () => Promise<Engine>): void {
  describe(`${name}: preferences`, () => {
    let engine: Engine;
    beforeAll(async () => {
      engine = await createEngine();
    });
    afterAll(async () => engine.dispose());

    const newTrainer = (config: Gpt2Config, options: Partial<TrainerOptions> = {}): Trainer => {
      const objective = dpo({ beta: fixture.beta });
      const trainer = new Trainer(engine, config, { seed: 1, objective, ...options });
      for (const [index, { name: parameter }] of trainer.parameters.specs.entries()) {
        trainer.parameters.writeTensor('params', index, initialParameters.get(parameter)!);
      }
      return trainer;
    };
    const gradientsOf = async ({ parameters }: Trainer): Promise<Map<string, Float32Array>> => {
      const all = new Map<string, Float32Array>();
      for (const [index, { name: parameter, size }] of parameters.specs.entries()) {
        const into = new Float32Array(size);
        await parameters.readTensor('grads', index, into);
        all.set(parameter, into);
      }
      return all;
    };

    it.each([[[3]], [[1, 2]]])(
      "DPO has the sums and gradients of PyTorch's, in microbatches of %j pairs",
      async (sizes) => {
        const trainer = newTrainer(tinyConfig);
        let sums = noSums;
        let from = 0;
        for (const size of sizes) {
          const part = samplesOf(fixtureBatch(), from, size);
          sums = addSums(sums, await trainer.microStep({ ...part, lossScale: 1 / fixture.pairs }));
          from += size;
        }
        expect(Object.keys(sums).sort()).toEqual(Object.keys(fixture.sums).sort());
        for (const [key, sum] of Object.entries(fixture.sums)) {
          expect(Math.abs(sums[key]! - sum) / Math.max(1, Math.abs(sum)), key).toBeLessThan(1e-5);
        }
        const actual = await gradientsOf(trainer);
        expect([...actual.keys()].sort()).toEqual(Object.keys(fixture.gradients).sort());
        for (const [parameter, { offset, length }] of Object.entries(fixture.gradients)) {
          const expected = gradients.subarray(offset, offset + length);
          expect(relativeError(actual.get(parameter)!, expected), parameter).toBeLessThan(1e-5);
        }
      },
    );

    it('DPO has the same bits with recomputed blocks, and masks that belong to the pairs', async () => {
      const config = { ...tinyConfig, dropout: 0.2 };
      const batch = fixtureBatch();
      const [kept, again, parts] = [
        newTrainer(config),
        newTrainer(config, { activationRecompute: 'block' }),
        newTrainer(config),
      ];
      const sums = await kept.microStep({ ...batch, lossScale: 1, dropout: dropoutSource() });
      expect(await again.microStep({ ...batch, lossScale: 1, dropout: dropoutSource() })).toEqual(sums);
      const expected = await gradientsOf(kept);
      expect(await gradientsOf(again)).toEqual(expected);
      for (const first of [0, 1, 2]) {
        const dropout = dropoutSource(first);
        await parts.microStep({ ...samplesOf(batch, first, 1), lossScale: 1, dropout });
      }
      for (const [parameter, gradient] of await gradientsOf(parts)) {
        expect(relativeError(gradient, expected.get(parameter)!), parameter).toBeLessThan(1e-4);
      }
    });

    it('training gives generated tokens the log probabilities that generation reports', async () => {
      const { model } = newTrainer(tinyConfig);
      const prompts = [[3], [1, 5]];
      const decoding = new DecodeBatch(engine, model);
      const sequences = prompts.map((prompt, seed) => decoding.add({ prompt, seed, temperature: 1, topK: 0, topP: 1 }));
      const rows = prompts.map((prompt) => ({ tokens: [...prompt], logprobs: [] as number[] }));
      while (rows.some(({ tokens }) => tokens.length <= T)) {
        for (const { sequence, token, logits } of await decoding.step()) {
          const row = rows[sequences.indexOf(sequence)]!;
          row.tokens.push(token);
          row.logprobs.push(tokenLogprobs(logits, token, 0).logprob);
          if (row.tokens.length > T) decoding.remove(sequence);
        }
      }
      decoding.release();

      decoding.release();
      const arrays = Object.fromEntries(
        ['chosen', 'rejected'].flatMap((side, i) => {
          const { tokens } = rows[i]!;
          const inputs = Int32Array.from(tokens.slice(0, T));
          const targets = Int32Array.from(tokens.slice(1), (token, t) => (t + 1 < prompts[i]!.length ? -1 : token));
          return [
            [side, { shape: [T], data: inputs }],
            [`${side}Targets`, { shape: [T], data: targets }],
          ];
        }),
      );
      const tape = new Tape(engine);
      const sums = await pairLogprobs(tape, model, { sampleCount: 1, arrays });
      const losses = await tape.read(
        model.losses(
          tape,
          tape.upload(Int32Array.from(rows[0]!.tokens.slice(0, T)), [1, T]),
          tape.upload(Int32Array.from(rows[0]!.tokens.slice(1)), [T]),
        ),
      );
      tape.discard();
      expect(rows[0]!.logprobs).toHaveLength(T);
      for (const [t, logprob] of rows[0]!.logprobs.entries()) expect(Math.abs(logprob + losses[t]!)).toBeLessThan(1e-5);
      for (const [i, { logprobs }] of rows.entries()) {
        const total = logprobs.reduce((sum, logprob) => sum + logprob, 0);
        expect(Math.abs(sums[i]! - total)).toBeLessThan(1e-5 * logprobs.length);
      }
    });
  });
}
