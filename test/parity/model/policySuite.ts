/** The common suite: policy gradients on one engine, against PyTorch's fixtures of GRPO and PPO. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Batch, type BatchArray, samplesOf } from '../../../src/base/batch.ts';
import { addSums, noSums, type Sums } from '../../../src/base/sums.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { grpo, type PolicyKeys, ppo } from '../../../src/model/objectives/policy.ts';
import { Trainer, type TrainerOptions } from '../../../src/model/training.ts';
import { relativeError } from '../kernels/harness.ts';
import { initialParameters } from './pytorchFixtures.ts';
import { tinyConfig, tinyLlama } from './tinyModels.ts';

type Kind = 'grpo' | 'ppo';
type Ranges = Readonly<Record<string, { readonly offset: number; readonly length: number }>>;

/** The model is a GPT-2 with the parameters of makeFixtures.py, or of another model with those in the fixture. */
interface Fixture {
  readonly keys: PolicyKeys;
  readonly rollouts: number;
  readonly tokens: readonly number[];
  readonly targets: readonly number[];
  readonly numbers: Readonly<Record<string, readonly number[]>>;
  readonly valueHead?: readonly number[];
  readonly initial?: Ranges;
  readonly cases: Readonly<Partial<Record<Kind, { readonly sums: Sums; readonly gradients: Ranges }>>>;
}

const folder = new URL('./fixtures/', import.meta.url);
const fixture = JSON.parse(readFileSync(new URL('policy.json', folder), 'utf8')) as Fixture;
const llamaFixture = JSON.parse(readFileSync(new URL('policyLlama.json', folder), 'utf8')) as Fixture;

const numbersOf = (file: string, ranges: Ranges): Map<string, Float32Array> => {
  const numbers = new Float32Array(new Uint8Array(readFileSync(new URL(file, folder))).buffer);
  return new Map(
    Object.entries(ranges).map(([name, { offset, length }]) => [name, numbers.subarray(offset, offset + length)]),
  );
};

const ofGpt = {
  fixture,
  file: 'policy.bin',
  config: tinyConfig,
  initial: new Map([...initialParameters, ['value.weight', Float32Array.from(fixture.valueHead!)]]),
};
const ofLlama = {
  fixture: llamaFixture,
  file: 'policyLlama.bin',
  config: tinyLlama,
  initial: numbersOf('policyLlama.bin', llamaFixture.initial!),
};
const cases = [
  { name: 'grpo', kind: 'grpo', of: ofGpt },
  { name: 'ppo', kind: 'ppo', of: ofGpt },
  { name: 'ppo of a Llama', kind: 'ppo', of: ofLlama },
] as const;

export const policyKeys = fixture.keys;

/** The rollouts of the fixture, with the arrays of the objective. */
export function policyBatch(kind: Kind, { fixture }: { readonly fixture: Fixture } = ofGpt): Batch {
  const shape = [tinyConfig.blockSize];
  const arrays: Record<string, BatchArray> = {
    tokens: { shape, data: Int32Array.from(fixture.tokens) },
    targets: { shape, data: Int32Array.from(fixture.targets) },
  };
  for (const [name, numbers] of Object.entries(fixture.numbers)) {
    if (kind === 'ppo' || (name !== 'values' && name !== 'returns')) {
      arrays[name] = { shape, data: Float32Array.from(numbers) };
    }
  }
  return { sampleCount: fixture.rollouts, arrays };
}

/** A trainer with the parameters of the fixture. */
export function policyTrainer(
  engine: Engine,
  kind: Kind,
  options: Partial<TrainerOptions> = {},
  of: typeof ofGpt | typeof ofLlama = ofGpt,
): Trainer {
  const config = { ...of.config, valueHead: kind === 'ppo' };
  const objective = kind === 'grpo' ? grpo(policyKeys) : ppo(policyKeys);
  const trainer = new Trainer(engine, config, { seed: 1, objective, ...options });
  for (const [index, { name }] of trainer.parameters.specs.entries()) {
    trainer.parameters.writeTensor('params', index, of.initial.get(name)!);
  }
  return trainer;
}

async function gradientsOf({ parameters }: Trainer): Promise<Map<string, Float32Array>> {
  const all = new Map<string, Float32Array>();
  for (const [index, { name, size }] of parameters.specs.entries()) {
    const into = new Float32Array(size);
    await parameters.readTensor('grads', index, into);
    all.set(name, into);
  }
  return all;
}

export function policySuite(name: string, createEngine: () => Promise<Engine>): void {
  describe(`${name}: policy gradients`, () => {
    let engine: Engine;
    beforeAll(async () => {
      engine = await createEngine();
    });
    afterAll(async () => engine.dispose());

    it.each(cases)(
      "$name has the sums and gradients of PyTorch's, in one microbatch and in several",
      async ({ kind, of }) => {
        const expected = of.fixture.cases[kind]!;
        const gradients = numbersOf(of.file, expected.gradients);
        for (const sizes of [[4], [1, 3]]) {
          const trainer = policyTrainer(engine, kind, {}, of);
          let sums = noSums;
          let from = 0;
          for (const size of sizes) {
            const part = samplesOf(policyBatch(kind, of), from, size);
            sums = addSums(sums, await trainer.microStep({ ...part, lossScale: 1 / expected.sums.weight }));
            from += size;
          }
          expect(Object.keys(sums).sort()).toEqual(Object.keys(expected.sums).sort());
          for (const [key, sum] of Object.entries(expected.sums)) {
            expect(Math.abs(sums[key]! - sum) / Math.max(1, Math.abs(sum)), key).toBeLessThan(1e-5);
          }
          const actual = await gradientsOf(trainer);
          expect([...actual.keys()].sort()).toEqual(Object.keys(expected.gradients).sort());
          for (const [parameter, gradient] of gradients) {
            expect(relativeError(actual.get(parameter)!, gradient), parameter).toBeLessThan(1e-5);
          }
        }
      },
    );

    it('PPO has the same bits with recomputed blocks', async () => {
      const [kept, again] = [
        policyTrainer(engine, 'ppo'),
        policyTrainer(engine, 'ppo', { activationRecompute: 'block' }),
      ];
      const sums = await kept.microStep({ ...policyBatch('ppo'), lossScale: 1 });
      expect(await again.microStep({ ...policyBatch('ppo'), lossScale: 1 })).toEqual(sums);
      expect(await gradientsOf(again)).toEqual(await gradientsOf(kept));
    });
  });
}
