/** The samples that a run writes itself: on disk completely, used once in each pass, and refused when they are not those of the run. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { UserError } from '../../../../src/base/errors.ts';
import { decodeRollouts, encodeRollouts } from '../../../../src/coordinator/rollouts/rolloutFile.ts';
import { RolloutFolder } from '../../../../src/coordinator/rollouts/rolloutStore.ts';
import { Rollouts, type RolloutsOptions } from '../../../../src/coordinator/rollouts/rollouts.ts';
import { promptsOf, rolloutBatch } from '../../../../src/task/rolloutBatch.ts';
import type { Rollout } from '../../../../src/task/rollouts.ts';
import { temporaryFolder } from '../../checkpoint/tinyCheckpoint.ts';

const limits = { blockSize: 16, vocabSize: 32, group: 2, maxTokens: 4, hasValues: false };

/** Iterations of 12 rows and 6 steps, in 6 parts. */
function rolloutsIn(folder: string, changes: Partial<RolloutsOptions> = {}): Rollouts {
  return new Rollouts({ ...options(folder), ...changes });
}

function options(folder: string): RolloutsOptions {
  return {
    seed: 3,
    globalBatchSize: 4,
    epochs: 0,
    blockSize: limits.blockSize,
    vocabSize: limits.vocabSize,
    task: {
      kind: 'grpo',
      prompts: 6,
      group: 2,
      inner: 2,
      maxTokens: 4,
      klMax: 0,
      beta: 0.1,
      gamma: 1,
      gaeLambda: 1,
      scaleAdvantages: false,
    },
    prompts: Array.from({ length: 9 }, (_, i) => ({
      at: `rows:${i + 1}`,
      tokens: [i, 20],
      messages: [{ role: 'user' as const, content: `prompt ${i}` }],
      expected: undefined,
    })),
    endToken: 31,
    tokenizer: { decode: (tokens) => Array.from(tokens).join('-') },
    judge: async (completions) => completions.map(({ text }, i) => text.length + i / 10),
    store: new RolloutFolder(folder),
    checkpointSteps: async () => [],
    onWarning: (message) => expect.fail(message),
  };
}

function answers(rollouts: Rollouts, iteration: number, part: number): readonly Rollout[] {
  const made = promptsOf(rollouts.promptsOf(iteration, part), limits).flatMap(({ index }) =>
    [0, 1].map((member): Rollout => {
      const tokens = Int32Array.of(index, iteration, member, 31);
      const logprobs = Float32Array.of(-1, -index, -member, -0.5);
      return { prompt: index, member, tokens, logprobs, reference: logprobs, ended: true };
    }),
  );
  return rollouts.parse(iteration, part, rolloutBatch(made));
}

async function write(
  rollouts: Rollouts,
  iteration: number,
  parts = [0, 1, 2, 3, 4, 5],
  unwritten?: () => number[],
): Promise<string> {
  rollouts.begin(iteration);
  for (const part of parts) rollouts.keep(part, answers(rollouts, iteration, part));
  const { sha256 } = await rollouts.write(iteration, unwritten);
  rollouts.known({ iteration, sha256 });
  return sha256;
}

const keyOf = (tokens: ArrayLike<number>) => Array.from(tokens).slice(0, 4).join();

/** The rows of a step, counted from 0. */
function rowsOf(rollouts: Rollouts, step: number): string[] {
  const { arrays, sampleCount } = rollouts.samples.batch(step);
  const { data, shape } = arrays['targets']!;
  const width = shape[0]!;
  return Array.from({ length: sampleCount }, (_, i) =>
    keyOf(data.subarray(i * width, (i + 1) * width).filter((target) => target >= 0)),
  );
}

describe('rollouts of a run', () => {
  it('are the same whatever the order of their parts, and used once in each pass', async () => {
    const [one, other] = [rolloutsIn(temporaryFolder()), rolloutsIn(temporaryFolder())];
    expect(one.plan).toMatchObject({ stepsPerIteration: 6, parts: 6 });
    for (const iteration of [1, 2]) {
      expect(await write(one, iteration)).toBe(await write(other, iteration, [5, 3, 4, 0, 2, 1]));
      const first = (iteration - 1) * 6;
      const passes = [0, 3].map((from) => [0, 1, 2].flatMap((step) => rowsOf(one, first + from + step)));
      for (const rows of passes) expect(new Set(rows).size).toBe(12);
      expect(passes[0]).not.toEqual(passes[1]);
      expect(passes[0]!.toSorted()).toEqual(passes[1]!.toSorted());
    }
    // Every prompt once before one comes again: 6 of 9, then the other 3.
    const indices = [1, 2].flatMap((iteration) =>
      Array.from({ length: 6 }, (_, part) => answers(one, iteration, part)[0]!.prompt),
    );
    expect(new Set(indices.slice(0, 9)).size).toBe(9);
    // Each row has a prompt of 2 tokens and 4 of the answer, the last of which is only a target.
    expect(one.samples.tokensIn(30)).toBe(30 * 5);
    expect(one.meansAt(7)).toMatchObject({ length: 4, ended: 1, rolloutKl: 0 });
  });

  it('say which share of the groups teaches nothing', async () => {
    const line = async (changes: Partial<RolloutsOptions>) => {
      const rollouts = rolloutsIn(temporaryFolder(), changes);
      await write(rollouts, 1);
      return rollouts.describe(1);
    };
    const equal: RolloutsOptions['judge'] = async (completions) => completions.map((_, i) => Number(i === 0));
    expect(await line({})).not.toContain('equal');
    expect(await line({ judge: equal })).toMatch(/, KL 0.00, 83 % of groups with equal rewards \(sha256 /);
  });

  it('are divided into parts that fit in a message, however long completions may be', () => {
    const parts = (changes: Partial<RolloutsOptions['task']>, blockSize = 65_536) => {
      const { task, prompts } = options(temporaryFolder());
      const many = Array.from({ length: 64 }, () => prompts[0]!);
      return rolloutsIn(temporaryFolder(), { blockSize, prompts: many, task: { ...task, prompts: 64, ...changes } })
        .plan.parts;
    };
    expect(parts({})).toBe(8);
    // 2 × 65536 × 12 bytes are 1.5 MiB, and 16 bytes a token are 2 MiB.
    expect(parts({ maxTokens: 65_536 })).toBe(32);
    expect(parts({ maxTokens: 65_536, kind: 'ppo' })).toBe(64);
    expect(parts({ maxTokens: 65_536 }, 1_024)).toBe(8);
    expect(parts({ maxTokens: 65_536, group: 32 })).toBe(64);
  });

  it('continue from the file, without what made them', async () => {
    const folder = temporaryFolder();
    const before = rolloutsIn(folder);
    const known = { iteration: 1, sha256: await write(before, 1) };
    const after = rolloutsIn(folder, { judge: () => Promise.reject(new Error('not asked again')) });
    expect(after.continued(4, known, '')).toEqual(known);
    expect(after.klOf(known)).toBe(0);
    after.known(known);
    after.resumeAt(16, 80);
    expect(rowsOf(after, 4)).toEqual(rowsOf(before, 4));
    expect(after.samples.tokensIn(20)).toBe(100);
    expect(after.meansAt(5)).toEqual(before.meansAt(5));
  });

  it('are refused within an iteration if they are not those of the run, and made again between two', async () => {
    const folder = temporaryFolder();
    const rollouts = rolloutsIn(folder);
    const known = { iteration: 1, sha256: await write(rollouts, 1) };
    const path = join(folder, 'iteration-000001.safetensors');
    const content = await readFile(path);
    content[content.length - 1]! ^= 1;
    await writeFile(path, content);
    const damaged =
      /iteration-000001.safetensors is damaged or of another run: .*; step 2 is within iteration 1, .*: restore it$/;
    expect(() => rollouts.continued(2, known, 'restore it')).toThrow(damaged);
    expect(() => rollouts.continued(2, known, 'restore it')).toThrow(UserError);
    expect(rollouts.continued(0, known, '')).toBeUndefined();
    await rm(path);
    expect(() => rollouts.continued(2, known, 'restore it')).toThrow(/iteration-000001.safetensors is missing; step 2/);
    expect(() => rollouts.continued(2, undefined, 'restore it')).toThrow(
      'the hash of the rollouts of iteration 1 is not known',
    );
    expect(rollouts.continued(6, known, '')).toBeUndefined();
    expect(await write(rollouts, 1)).toBe(known.sha256);
  });

  it.each([1_000_001, -1e7, Number.NaN])('are not written with a reward of %d', async (reward) => {
    const folder = temporaryFolder();
    const judge: RolloutsOptions['judge'] = async (completions) => completions.map((_, i) => (i === 3 ? reward : 1e6));
    const writing = write(rolloutsIn(folder, { judge }), 1);
    await expect(writing).rejects.toThrow(UserError);
    await expect(writing).rejects.toThrow(
      new RegExp(`from -1000000 to 1000000, received ${reward} for the completion "\\d-1-1" of rows:\\d`),
    );
    expect(new RolloutFolder(folder).read(1)).toBeUndefined();
  });

  it('are kept as long as a checkpoint needs them', async () => {
    const folder = temporaryFolder();
    // Within iteration 2, and between two.
    const rollouts = rolloutsIn(folder, { checkpointSteps: async () => [7, 12] });
    for (let iteration = 1; iteration <= 12; iteration++) await write(rollouts, iteration);
    const store = new RolloutFolder(folder);
    const kept = Array.from({ length: 12 }, (_, i) => i + 1).filter((iteration) => store.read(iteration) !== undefined);
    expect(kept).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it('are kept as long as a checkpoint is being written that needs them', async () => {
    const folder = temporaryFolder();
    const rollouts = rolloutsIn(folder);
    for (let iteration = 1; iteration <= 12; iteration++) await write(rollouts, iteration, undefined, () => [7]);
    const store = new RolloutFolder(folder);
    expect([1, 2, 3].filter((iteration) => store.read(iteration) !== undefined)).toEqual([2]);
  });
});

it('a file gives back what was written, with values', () => {
  const numbers = Float32Array.of(-1, -2);
  const rollout = {
    prompt: 3,
    member: 0,
    tokens: Int32Array.of(1, 2),
    logprobs: numbers,
    reference: numbers,
    values: numbers,
    ended: false,
    reward: 0.5,
  };
  const content = { iteration: 4, rollouts: [rollout, { ...rollout, member: 1, ended: true }] };
  const bytes = encodeRollouts(content);
  expect(decodeRollouts(bytes, 'file')).toEqual(content);
  expect(() => decodeRollouts(bytes.slice(0, -4), 'file')).toThrow(UserError);
});
