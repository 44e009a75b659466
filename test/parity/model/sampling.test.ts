/** Sampling against Hugging Face's transformers: the probabilities of a token, and texts with a penalty for repetition. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { generate } from '../../../src/model/generate.ts';
import { Model } from '../../../src/model/model.ts';
import { parameterSpecs } from '../../../src/model/parameterOrder.ts';
import { Parameters } from '../../../src/model/parameterStore.ts';
import { penaliseRepetition, tokenProbabilities } from '../../../src/model/sampling.ts';
import { Float64Engine } from './float64Engine.ts';

interface Fixtures {
  /** The logits of the next token for each token. */
  readonly table: number[][];
  readonly cases: readonly {
    readonly logits: number[];
    readonly ids: number[];
    readonly options: Partial<Record<'temperature' | 'top_k' | 'top_p' | 'min_p' | 'repetition_penalty', number>>;
    readonly processors: string[];
    readonly probabilities: number[];
  }[];
  readonly texts: readonly { readonly prompt: number[]; readonly penalty: number; readonly tokens: number[] }[];
}

/** See makeSamplingFixtures.py. */
const { table, cases, texts } = JSON.parse(
  readFileSync(new URL('fixtures/sampling.json', import.meta.url), 'utf8'),
) as Fixtures;

it.each(cases)('has the probabilities of transformers with $options', ({ logits, ids, options, probabilities }) => {
  const { temperature = 1, top_k: topK = 0, top_p: topP = 1, min_p: minP, repetition_penalty: penalty = 1 } = options;
  const scores = penaliseRepetition(Float32Array.from(logits), new Set(ids), penalty);
  const own = tokenProbabilities(scores, { temperature, topK, topP, minP });
  probabilities.forEach((probability, token) => {
    expect(own[token] === 0, `token ${token}`).toBe(probability === 0);
    expect(own[token]).toBeCloseTo(probability, 6);
  });
});

describe.each([true, false])('with a cache: %s', (useCache) => {
  it.each(texts)(
    'repeats as little as transformers with a penalty of $penalty',
    async ({ prompt, penalty, tokens }) => {
      const engine = new Float64Engine();
      // A prompt longer than the context: its first tokens count as well.
      const config = { architecture: 'bigram', vocabSize: table.length, blockSize: 4 } as const;
      const parameters = new Parameters(engine, parameterSpecs(config), { training: false });
      parameters.writeTensor('params', 0, Float32Array.from(table.flat()));
      const own: number[] = [];
      const options = { prompt, maxTokens: tokens.length, temperature: 0, topK: 0, topP: 1, seed: 1, useCache };
      const model = new Model(engine, config, parameters);
      for await (const token of generate(engine, model, { ...options, repetitionPenalty: penalty })) own.push(token);
      expect(own).toEqual(tokens);
    },
  );
});
