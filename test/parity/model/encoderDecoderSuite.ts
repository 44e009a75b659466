/** The common suite: encoder–decoders on one engine, against PyTorch and Hugging Face's MarianMT (the fixtures of the scripts beside this file). */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EncoderDecoderConfig } from '../../../src/architecture/encoderDecoder.ts';
import type { Batch } from '../../../src/base/batch.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { beamSearch } from '../../../src/model/beamSearch.ts';
import { DecodeBatch } from '../../../src/model/decodeBatch.ts';
import { Model } from '../../../src/model/model.ts';
import { parameterSpecs } from '../../../src/model/parameterOrder.ts';
import { Parameters } from '../../../src/model/parameterStore.ts';
import { Tape } from '../../../src/model/tape.ts';
import { Trainer } from '../../../src/model/training.ts';
import { relativeError } from '../kernels/harness.ts';
import { encoderDecoderVariants, sourceOf, tinyEncoderDecoder, translation } from './sourceBatches.ts';
import { expectClose, expectGradients, meanLoss, relative, split } from './trainers.ts';

interface Range {
  readonly offset: number;
  readonly length: number;
}

interface PyTorchFile {
  readonly lengths: readonly (readonly [source: number, target: number])[];
  readonly variants: Record<string, Variant>;
}

interface Variant {
  readonly config: Partial<EncoderDecoderConfig>;
  readonly tokens: readonly number[];
  readonly targets: readonly number[];
  readonly source: readonly number[];
  readonly lossSum: number;
  readonly logits: Range;
  readonly initial: Record<string, Range>;
  readonly gradients: Record<string, Range>;
}

interface MarianFile {
  readonly vocabSize: number;
  readonly begin: number;
  readonly end: number;
  readonly maxTokens: number;
  readonly sources: readonly (readonly number[])[];
  readonly searches: readonly {
    readonly beams: number;
    readonly lengthPenalty: number;
    readonly results: readonly { readonly tokens: number[][]; readonly scores: readonly number[] | null }[];
  }[];
  readonly weights: Record<string, Range>;
}

const folder = new URL('./fixtures/', import.meta.url);
const read = <T>(name: string) => {
  const file = JSON.parse(readFileSync(new URL(`${name}.json`, folder), 'utf8')) as T;
  const numbers = new Float32Array(new Uint8Array(readFileSync(new URL(`${name}.bin`, folder))).buffer);
  return { file, arrayAt: ({ offset, length }: Range) => numbers.slice(offset, offset + length) };
};
const pytorch = read<PyTorchFile>('encoderDecoder');
const marian = read<MarianFile>('marian');

/** The model of the fixture, whose queries, keys and values Hugging Face has in parts. */
const marianConfig: EncoderDecoderConfig = {
  ...tinyEncoderDecoder,
  vocabSize: marian.file.vocabSize,
  blockSize: 12,
  nHead: 2,
  nEmbd: 16,
  nInner: 24,
};

function marianValues(name: string): Float32Array {
  const merged = /^(.*)\.(qkv|kv)_proj\.(weight|bias)$/.exec(name);
  const parts = merged ? [...merged[2]!].map((part) => `${merged[1]}.${part}_proj.${merged[3]}`) : [name];
  return Float32Array.from(parts.flatMap((part) => [...marian.arrayAt(marian.file.weights[part]!)]));
}

const greedy = { temperature: 0, topK: 0, topP: 1 };
const sampled = { temperature: 1, topK: 0, topP: 1 };

/** The batch of a variant. @param S length to which sources are padded */
function batchOf({ tokens, targets, source }: Variant, S?: number): Batch {
  const { lengths } = pytorch.file;
  const B = lengths.length;
  const arrayOf = (numbers: readonly number[]) => ({ shape: [numbers.length / B], data: Int32Array.from(numbers) });
  const plain = source.length / B;
  const padded = Array.from({ length: B * (S ?? plain) }, (_, at) => {
    const [row, i] = [Math.floor(at / (S ?? plain)), at % (S ?? plain)];
    return i < plain ? source[row * plain + i]! : 5;
  });
  const sourceLength = { shape: [1], data: Int32Array.from(lengths, ([length]) => length) };
  return {
    sampleCount: B,
    arrays: { tokens: arrayOf(tokens), targets: arrayOf(targets), source: arrayOf(padded), sourceLength },
  };
}

/** @param brief leaves out cases that differ only in their sizes, for a slow engine */
export function encoderDecoderSuite(name: string, createEngine: () => Promise<Engine>, { brief = false } = {}): void {
  describe(`${name}: encoder–decoder`, () => {
    let engine: Engine;
    beforeAll(async () => {
      engine = await createEngine();
    });
    afterAll(async () => engine.dispose());

    const trainerOf = (variant: Variant): Trainer => {
      const config = { ...tinyEncoderDecoder, ...variant.config };
      const trainer = new Trainer(engine, config, { seed: 1, objective: translation });
      for (const [index, { name: parameter }] of trainer.parameters.specs.entries()) {
        const values = variant.initial[parameter];
        // The tables of positions are not trained: they have their values from the start.
        if (values !== undefined) trainer.parameters.writeTensor('params', index, pytorch.arrayAt(values));
        else expect(parameter).toMatch(/^model\.(en|de)coder\.embed_positions\.weight$/);
      }
      return trainer;
    };

    it.each(Object.keys(pytorch.file.variants))('%s: logits, loss and every gradient of PyTorch', async (which) => {
      const variant = pytorch.file.variants[which]!;
      const trainer = trainerOf(variant);
      const batch = batchOf(variant);
      const tape = new Tape(engine);
      const { data, shape } = batch.arrays['tokens']!;
      const tokens = tape.upload(data, [batch.sampleCount, ...shape]);
      const logits = await tape.read(trainer.model.forward(tape, tokens, { source: sourceOf(tape, batch) }));
      tape.discard();
      // Nothing is computed from a target's padding.
      const V = trainer.model.config.vocabSize;
      const ofTargets = (numbers: Float32Array) =>
        numbers.filter((_, at) => batch.arrays['targets']!.data[Math.floor(at / V)]! >= 0);
      expectClose(ofTargets(logits), ofTargets(pytorch.arrayAt(variant.logits)), 'logits', 1e-5);
      expect(relative((await trainer.microStep(meanLoss(batch))).loss, variant.lossSum)).toBeLessThan(1e-5);
      const gradients = new Map(
        Object.entries(variant.gradients).map(([parameter, range]) => [parameter, pytorch.arrayAt(range)]),
      );
      await expectGradients(trainer, gradients);

      // The same from microbatches, and with more padding.
      const padded = batchOf(variant, 8);
      const again = trainerOf(variant);
      let loss = 0;
      for (const part of split(padded, [1, 2])) {
        loss += (await again.microStep({ ...part, lossScale: meanLoss(padded).lossScale })).loss;
      }
      expect(relative(loss, variant.lossSum)).toBeLessThan(1e-5);
      await expectGradients(again, gradients);
    });

    const marianModel = (): Model => {
      const parameters = new Parameters(engine, parameterSpecs(marianConfig), { training: false });
      for (const [index, { name: parameter }] of parameters.specs.entries()) {
        parameters.writeTensor('params', index, marianValues(parameter));
      }
      return new Model(engine, marianConfig, parameters);
    };

    it('generates the targets of MarianMT: greedily, and with beams', async () => {
      const model = marianModel();
      const { begin, end, maxTokens, sources, searches } = marian.file;
      const idle = engine.memory().bytesInUse;
      const count = brief ? 2 : sources.length;
      for (const { beams, lengthPenalty, results } of searches.slice(0, brief ? 2 : searches.length)) {
        for (const [i, source] of sources.slice(0, count).entries()) {
          const found = await beamSearch(engine, model, { source, begin, end, beams, maxTokens, lengthPenalty });
          const { tokens, scores } = results[i]!;
          expect(found.map((each) => each.tokens)).toEqual(tokens);
          for (const [rank, score] of (scores ?? []).entries())
            expect(relative(found[rank]!.score, score)).toBeLessThan(2e-5);
        }
      }
      expect(engine.memory().bytesInUse).toBe(idle);

      const greedyTargets = searches
        .find(({ beams }) => beams === 1)!
        .results.map(({ tokens }) => tokens[0])
        .slice(0, count);
      const batch = new DecodeBatch(engine, model);
      const targets = new Map(
        sources
          .slice(0, count)
          .map((source) => [batch.add({ ...greedy, prompt: [begin], seed: 1, source }), [] as number[]]),
      );
      for (let step = 0; step < maxTokens; step++) {
        for (const { sequence, token } of await batch.step()) {
          targets.get(sequence)!.push(token);
          if (token === end) batch.remove(sequence);
        }
      }
      batch.release();
      expect([...targets.values()]).toEqual(greedyTargets);
      expect(engine.memory().bytesInUse).toBe(idle);
    });

    it.each(brief ? encoderDecoderVariants.slice(1) : encoderDecoderVariants)(
      '$name: a sequence has the logits that it has alone, bit for bit, and nearly those without a cache',
      async ({ config }) => {
        const parameters = new Parameters(engine, parameterSpecs(config), { training: false });
        parameters.initialise(4);
        const model = new Model(engine, config, parameters);
        const all = [
          { prompt: [3], source: [1, 2, 3] },
          { prompt: [3, 1, 4], source: [5] },
          { prompt: [9], source: [1, 2, 3, 4, 5, 6, 7, 8] },
          { prompt: [0, 1], source: [1, 2, 3] },
        ].map((each, seed) => ({ ...each, ...sampled, seed }));
        const logitsOf = async (sequences: typeof all, options = {}) => {
          const batch = new DecodeBatch(engine, model, { promptChunk: 2, ...options });
          const logits = new Map(sequences.map((each) => [batch.add(each), [] as Float32Array[]]));
          // Past blockSize, where the window slides.
          for (let step = 0; step < 14; step++) {
            for (const next of await batch.step()) logits.get(next.sequence)!.push(next.logits.slice());
          }
          batch.release();
          return [...logits.values()];
        };
        const together = await logitsOf(all);
        for (const [i, sequence] of all.entries()) {
          const [alone] = await logitsOf([sequence]);
          const shared = Math.min(alone!.length, together[i]!.length);
          expect(shared).toBeGreaterThan(9);
          expect(together[i]!.slice(0, shared)).toEqual(alone!.slice(0, shared));
          const [uncached] = await logitsOf([sequence], { useCache: false });
          for (let token = 0; token < shared; token++) {
            expect(relativeError(alone![token]!, uncached![token]!), `token ${token}`).toBeLessThan(2e-5);
          }
        }
      },
    );
  });
}
