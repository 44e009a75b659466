import { describe, expect, it } from 'vitest';
import { configSchema } from '../../../src/config/schema.ts';
import { ValidationPlan, validationSamples } from '../../../src/coordinator/validationPlan.ts';
import type { Dataset } from '../../../src/data/dataset.ts';
import { textRunData } from '../../../src/data/textRunData.ts';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../../../src/data/tokenizers/tokenizer.ts';
import { asTokenBatch } from '../../../src/task/nextToken.ts';

const blockSize = 8;

/** A plan over a split whose token at position i is i. */
function planOf(valTokens: number, batches: number): ValidationPlan {
  return planOver(
    Uint16Array.from({ length: valTokens }, (_, i) => i),
    batches,
  );
}

function planOver(val: Uint16Array | Uint32Array, batches: number, tokenizer?: Tokenizer, partTokens?: number) {
  return new ValidationPlan(...dataOver(val, batches, tokenizer), partTokens);
}

function dataOver(val: Uint16Array | Uint32Array, batches: number, tokenizer?: Tokenizer) {
  const dataset = { train: val, val, tokenizer } as unknown as Dataset;
  const config = configSchema.parse({
    model: { blockSize },
    train: { globalBatchSize: 4, microBatchSize: 4 },
    eval: { batches },
  });
  return [textRunData(dataset, blockSize), config] as const;
}

function shareOf(plan: ValidationPlan, rank: number, worldSize: number, part = 0) {
  const { sampleCount, arrays } = asTokenBatch(plan.share(rank, worldSize, part));
  return { sampleCount, tokens: arrays.tokens.data, targets: arrays.targets.data };
}

/** The first token of each window of each rank. */
function startsOf(plan: ValidationPlan, worldSize: number): number[][] {
  return Array.from({ length: worldSize }, (_, rank) => {
    const { sampleCount, tokens, targets } = shareOf(plan, rank, worldSize);
    expect(tokens).toHaveLength(sampleCount * blockSize);
    expect(targets).toHaveLength(sampleCount * blockSize);
    return Array.from({ length: sampleCount }, (__, i) => tokens[i * blockSize]!);
  });
}

describe('the validation plan', () => {
  it.each([1, 2, 3, 5, 12, 20])('takes the same windows, each once, with %i workers', (worldSize) => {
    const plan = planOf(1_000, 3);
    const shares = startsOf(plan, worldSize);
    expect(shares.flat()).toEqual(startsOf(plan, 1).flat());
    expect(new Set(shares.flat()).size).toBe(12);
    const sizes = shares.map(({ length }) => length);
    expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
  });

  it('spreads an estimate over the complete split', () => {
    const [starts = []] = startsOf(planOf(1_000, 3), 1);
    expect(starts[0]).toBe(0);
    const gaps = starts.slice(1).map((start, i) => start - starts[i]!);
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(80);
    expect(starts.at(-1)).toBeGreaterThan(900);
  });

  it('takes all of a short split: every token but the first is a target once, the rest is padding', () => {
    const { targets } = shareOf(planOf(30, 50), 0, 1);
    expect([...targets].filter((target) => target >= 0)).toEqual(Array.from({ length: 29 }, (_, i) => i + 1));
    expect(targets).toHaveLength(4 * blockSize);
  });

  it('takes all of a long split where it should: every token but the first is a target once', () => {
    const plan = planOf(1_000, 0);
    const targets = [0, 1, 2].flatMap((rank) => [...shareOf(plan, rank, 3).targets]);
    expect(targets.filter((target) => target >= 0)).toEqual(Array.from({ length: 999 }, (_, i) => i + 1));
  });

  it('comes in parts of full micro-batches, which are the same windows in the same order', () => {
    const val = Uint16Array.from({ length: 1_000 }, (_, i) => i);
    // 4 windows of 8 tokens: 125 windows over 3 ranks are 42, 42 and 41, in 11 parts each.
    const plan = planOver(val, 0, undefined, 50);
    expect(plan).toMatchObject({ sampleCount: 125, partSamples: 4 });
    const whole = planOver(val, 0);
    for (const rank of [0, 1, 2]) {
      const parts = Array.from({ length: 12 }, (_, part) => shareOf(plan, rank, 3, part));
      expect(parts.map(({ sampleCount }) => sampleCount)).toEqual([...Array(10).fill(4), rank === 2 ? 1 : 2, 0]);
      expect(parts.flatMap(({ tokens }) => [...tokens])).toEqual([...shareOf(whole, rank, 3).tokens]);
    }
  });

  it('gives a rank without windows an empty batch', () => {
    const { sampleCount, tokens } = shareOf(planOf(17, 1), 3, 4);
    expect(sampleCount).toBe(0);
    expect(tokens).toHaveLength(0);
  });

  it('measures the text of its targets: in the complete split all but the first token, no character cut', async () => {
    const tokenizer = await createTokenizer('byte', '');
    const text = 'é日本😀 plain '.repeat(50);
    const done: number[] = [];
    const samples = validationSamples(...dataOver(tokenizer.encode(text), 0, tokenizer));
    // The first token is half of the first character: its other half completes it.
    const bytes = Buffer.byteLength(text);
    expect(await samples.targetText!((share) => done.push(share))).toEqual({ bytes, targets: bytes - 1 });
    expect(done.at(-1)).toBeGreaterThan(0.9);
    expect(done.at(-1)).toBeLessThanOrEqual(1);
  });

  it('measures of an estimate its windows alone, and the end of a document as nothing', async () => {
    const tokenizer = await createTokenizer('byte', '');
    const targets = 12 * blockSize;
    const val = tokenizer.encode('x'.repeat(1_000));
    const textOf = (tokens: typeof val) => validationSamples(...dataOver(tokens, 3, tokenizer)).targetText!(() => {});
    expect(await textOf(val)).toEqual({ bytes: targets, targets });
    val[1] = tokenizer.endOfText!;
    expect(await textOf(val)).toEqual({ bytes: targets - 1, targets });
  });
});
