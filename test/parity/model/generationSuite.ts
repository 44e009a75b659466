/** The common suite: generation on one engine. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../../src/architecture/registry.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import type { Tensor } from '../../../src/engine/tensor.ts';
import { DecodeBatch, type Sequence } from '../../../src/model/decodeBatch.ts';
import { type GenerateOptions, generate } from '../../../src/model/generate.ts';
import { Model } from '../../../src/model/model.ts';
import { parameterSpecs } from '../../../src/model/parameterOrder.ts';
import { Parameters } from '../../../src/model/parameterStore.ts';
import { tokenProbabilities } from '../../../src/model/sampling.ts';
import { Tape } from '../../../src/model/tape.ts';
import type { Variable } from '../../../src/model/variable.ts';
import { relativeError } from '../kernels/harness.ts';
import { decodedVariants, tinyConfig } from './tinyModels.ts';

const all = { temperature: 1, topK: 0, topP: 1 };
const greedy = { temperature: 0, topK: 0, topP: 1 };
/** Twice blockSize and more: the window slides. */
const maxTokens = 20;

export function generationSuite(name: string, createEngine: () => Promise<Engine>): void {
  describe(`${name}: generation`, () => {
    let engine: Engine;
    let model: Model;
    const modelOf = async (config: ModelConfig = tinyConfig): Promise<Model> => {
      const parameters = new Parameters(engine, parameterSpecs(config), { training: false });
      parameters.initialise(4);
      for (const [index, { size, decay }] of parameters.specs.entries()) {
        if (!decay) continue;
        // Ten times GPT-2's matrices: an untrained model gives every token about 1/V, whatever came before.
        const values = new Float32Array(size);
        await parameters.readTensor('params', index, values);
        parameters.writeTensor(
          'params',
          index,
          values.map((value) => 10 * value),
        );
      }
      return new Model(engine, config, parameters);
    };
    const tokensOf = async (options: Partial<GenerateOptions>, of = model): Promise<number[]> => {
      const tokens: number[] = [];
      const defaults = { ...all, prompt: [1, 2], maxTokens, seed: 1 };
      for await (const token of generate(engine, of, { ...defaults, ...options })) tokens.push(token);
      return tokens;
    };

    beforeAll(async () => {
      engine = await createEngine();
      model = await modelOf();
    });
    afterAll(async () => engine.dispose());

    it('is reproducible by its seed', async () => {
      const first = await tokensOf({ seed: 7 });
      expect(first.length).toBe(maxTokens);
      expect(new Set(first).size).toBeGreaterThan(5);
      expect(await tokensOf({ seed: 7 })).toEqual(first);
      expect(await tokensOf({ seed: 8 })).not.toEqual(first);
    });

    it.each(decodedVariants)(
      'gives the same tokens with and without the cache, past blockSize too: $name',
      async ({ config }) => {
        const of = await modelOf(config);
        for (let seed = 0; seed < 8; seed++) {
          // From one token, to a prompt that just fits, to one that is cropped.
          const prompt = Array.from({ length: 1 + (seed % (config.blockSize + 2)) }, (_, i) => (seed + 3 * i) % 7);
          const options = { prompt, seed, temperature: 0.5 + seed / 6, topK: seed % 5, topP: seed % 2 ? 0.9 : 1 };
          const cached = await tokensOf({ ...options, useCache: true }, of);
          expect(cached).toEqual(await tokensOf({ ...options, useCache: false }, of));
        }
      },
    );

    it('gives exactly maxTokens tokens, also if the last one is the first beyond blockSize', async () => {
      for (const useCache of [true, false]) {
        for (let count = tinyConfig.blockSize - 2; count <= tinyConfig.blockSize + 2; count++) {
          expect(await tokensOf({ prompt: [1], maxTokens: count, useCache })).toHaveLength(count);
        }
      }
    });

    it('predicts the same from a prompt in one piece, in chunks, and token by token', async () => {
      const tokens = Int32Array.of(3, 1, 4, 1, 5, 9, 2);
      const tape = new Tape(engine);
      const logitsOf = async (forward: (tokens: Tensor) => Variable, chunk: Int32Array): Promise<Float32Array> => {
        const onDevice = tape.upload(chunk, [1, chunk.length]);
        const logits = new Float32Array(tinyConfig.vocabSize);
        await engine.download(forward(onDevice).value, logits);
        tape.discard();
        return logits;
      };
      const expected = await logitsOf((onDevice) => model.forwardLast(tape, onDevice), tokens);
      for (const chunks of [[7], [1, 1, 1, 1, 1, 1, 1], [3, 4], [5, 1, 1], [1, 6]]) {
        const cache = model.newCache();
        let position = 0;
        let logits: Float32Array = new Float32Array();
        for (const size of chunks) {
          const chunk = tokens.subarray(position, position + size);
          logits = await logitsOf((onDevice) => model.decode(tape, onDevice, { cache, position }), chunk);
          position += size;
        }
        cache.release();
        expect(relativeError(logits, expected), `chunks of ${chunks}`).toBeLessThan(1e-4);
      }
    });

    it.each([1, 3, 7, 8])('gives the same tokens with the prompt in chunks of %i', async (promptChunk) => {
      const options = { prompt: [3, 1, 4, 1, 5, 9, 2, 6], seed: 2 };
      expect(await tokensOf({ ...options, promptChunk })).toEqual(await tokensOf(options));
    });

    it('top-k 1 is greedy, whatever the seed', async () => {
      const expected = await tokensOf(greedy);
      for (const seed of [1, 2, 3]) expect(await tokensOf({ topK: 1, seed })).toEqual(expected);
    });

    it('depends on the last blockSize tokens only', async () => {
      const end = [5, 6, 7, 8, 9, 10, 11, 12];
      const expected = await tokensOf({ prompt: end });
      expect(await tokensOf({ prompt: [20, 21, ...end] })).toEqual(expected);
      expect(await tokensOf({ prompt: end.with(0, 4) })).not.toEqual(expected);
    });

    it('draws the first token from the predicted distribution', async () => {
      const prompt = [3, 1, 4];
      const tape = new Tape(engine);
      const onDevice = tape.upload(Int32Array.from(prompt), [1, prompt.length]);
      const logits = new Float32Array(tinyConfig.vocabSize);
      await engine.download(model.forwardLast(tape, onDevice).value, logits);
      tape.discard();
      const options = { temperature: 1.2, topK: 10, topP: 0.95 };
      const expected = tokenProbabilities(logits, options);

      const draws = 300;
      const counts = new Float64Array(expected.length);
      for (let seed = 0; seed < draws; seed++) {
        for (const token of await tokensOf({ prompt, ...options, seed, maxTokens: 1 })) counts[token]!++;
      }
      expected.forEach((p, token) => {
        const deviation = Math.sqrt((p * (1 - p)) / draws);
        expect(Math.abs(counts[token]! / draws - p), `token ${token}`).toBeLessThanOrEqual(4.5 * deviation);
      });
    });

    it('gives a sequence the tokens and logits that it has alone, whatever is in the batch beside it', async () => {
      const prompts = [
        [3],
        [3, 1],
        [1, 5, 9, 2, 6, 5, 3, 5],
        [8, 9, 7, 9],
        [2, 7, 1, 8, 2, 8, 1, 8, 2, 8],
        [3, 1, 4],
        [0],
      ];
      const options = prompts.map((prompt, seed) => ({ ...all, prompt, seed, topK: seed }));
      const logitsAlone: Float32Array[][] = [];
      for (const alone of options) {
        const batch = new DecodeBatch(engine, model);
        batch.add(alone);
        const steps: Float32Array[] = [];
        while (steps.length < maxTokens) for (const { logits } of await batch.step()) steps.push(logits.slice());
        batch.release();
        logitsAlone.push(steps);
      }
      const idle = engine.memory().bytesInUse;
      const batch = new DecodeBatch(engine, model, { promptChunk: 9 });
      const counts = new Map<Sequence, { index: number; count: number }>();
      for (let step = 0; step < 60; step++) {
        // One comes at every other step; the third leaves early.
        if (step % 2 === 0 && step / 2 < options.length) {
          counts.set(batch.add(options[step / 2]!), { index: step / 2, count: 0 });
        }
        for (const { sequence, logits } of await batch.step()) {
          const seen = counts.get(sequence)!;
          expect(logits, `sequence ${seen.index}, token ${seen.count}`).toEqual(logitsAlone[seen.index]![seen.count]);
          if (++seen.count === (seen.index === 2 ? 5 : maxTokens)) batch.remove(sequence);
        }
      }
      expect([...counts.values()].map(({ count }) => count)).toEqual([20, 20, 5, 20, 20, 20, 20]);
      expect(engine.memory().bytesInUse).toBe(idle);
    });

    it('streams, and gives its buffers back when it ends or is left early', async () => {
      const idle = engine.memory().bytesInUse;
      await tokensOf({});
      expect(engine.memory().bytesInUse).toBe(idle);
      let seen = 0;
      for await (const _ of generate(engine, model, { ...all, prompt: [1], maxTokens: 1000, seed: 1 })) {
        expect(engine.memory().bytesInUse).toBeGreaterThan(idle);
        if (++seen === 3) break;
      }
      expect(engine.memory().bytesInUse).toBe(idle);
    });

    it('refuses an empty prompt and tokens that are not in the vocabulary', async () => {
      await expect(tokensOf({ prompt: [] })).rejects.toThrow('at least one token');
      await expect(tokensOf({ prompt: [29] })).rejects.toThrow('outside the vocabulary of 29');
      for (const promptChunk of [0, -1, 1.5, Number.NaN]) {
        await expect(tokensOf({ promptChunk })).rejects.toThrow(`promptChunk must be a whole number of at least 1`);
      }
    });
  });
}
