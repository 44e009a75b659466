/** How the prompts of rollouts and the finished rollouts travel: as batches of samples of equal length, padded at their end. */
import type { Batch, BatchNumbers } from '../base/batch.ts';
import { PeerError } from '../base/errors.ts';
import { checkBatch, type FieldRules } from './fields.ts';
import type { Rollout, RolloutPrompt } from './rollouts.ts';

/** The bounds of rollouts. */
export interface RolloutLimits {
  readonly blockSize: number;
  readonly vocabSize: number;
  /** Number of completions of each prompt. */
  readonly group: number;
  /** Maximum number of tokens of a completion. */
  readonly maxTokens: number;
  /** Whether each token has a value (PPO). */
  readonly hasValues: boolean;
}

const indexMax = 2 ** 31 - 1;
/** The lowest log probability, and the largest value. */
const [logprobMin, valueMax] = [-1e6, 1e9];

/** A sample per prompt: `prompt` is its index, `length` the number of its tokens. */
export function promptBatch(prompts: readonly RolloutPrompt[]): Batch {
  const width = Math.max(1, ...prompts.map(({ tokens }) => tokens.length));
  const numbers = (values: readonly number[]) => ({ shape: [1], data: Int32Array.from(values) });
  return {
    sampleCount: prompts.length,
    arrays: {
      prompt: numbers(prompts.map(({ index }) => index)),
      length: numbers(prompts.map(({ tokens }) => tokens.length)),
      tokens: {
        shape: [width],
        data: padded(
          prompts.map(({ tokens }) => tokens),
          new Int32Array(prompts.length * width),
        ),
      },
    },
  };
}

/** The inverse of {@link promptBatch}. @throws PeerError for numbers outside the limits */
export function promptsOf(batch: Batch, { blockSize, vocabSize }: RolloutLimits): RolloutPrompt[] {
  const T = { name: 'T', min: 1, max: blockSize };
  checkBatch(batch, {
    prompt: one(0, indexMax),
    length: one(1, blockSize),
    tokens: { dtype: 'int32', axes: [T], min: 0, max: vocabSize - 1 },
  });
  const rows = rowsOf(batch);
  return rows['prompt']!.map(([index], i) => ({
    index: index!,
    tokens: Array.from(rows['tokens']![i]!.subarray(0, lengthAt(rows, i))),
  }));
}

/** A sample per rollout. */
export function rolloutBatch(rollouts: readonly Rollout[]): Batch {
  const width = Math.max(1, ...rollouts.map(({ tokens }) => tokens.length));
  const count = rollouts.length;
  const numbers = (values: readonly number[]) => ({ shape: [1], data: Int32Array.from(values) });
  const floats = (name: 'logprobs' | 'reference' | 'values') => ({
    shape: [width],
    data: padded(
      rollouts.map((rollout) => rollout[name] ?? []),
      new Float32Array(count * width),
    ),
  });
  return {
    sampleCount: count,
    arrays: {
      prompt: numbers(rollouts.map(({ prompt }) => prompt)),
      member: numbers(rollouts.map(({ member }) => member)),
      ended: numbers(rollouts.map(({ ended }) => Number(ended))),
      length: numbers(rollouts.map(({ tokens }) => tokens.length)),
      tokens: {
        shape: [width],
        data: padded(
          rollouts.map(({ tokens }) => tokens),
          new Int32Array(count * width),
        ),
      },
      logprobs: floats('logprobs'),
      reference: floats('reference'),
      ...(rollouts[0]?.values && { values: floats('values') }),
    },
  };
}

/** The bounds of rollouts, and the token that ends a completion. */
export interface CompletionLimits extends RolloutLimits {
  /** Undefined: none does. */
  readonly endToken: number | undefined;
}

/**
 * The inverse of {@link rolloutBatch}: `group` rollouts of each of these prompts, in order.
 * @throws PeerError for other rollouts, numbers outside the limits, and completions that no model can have drawn for their prompt
 */
export function rolloutsOf(batch: Batch, prompts: readonly RolloutPrompt[], limits: CompletionLimits): Rollout[] {
  const { group, hasValues } = limits;
  checkBatch(batch, rolloutFields(limits));
  const rows = rowsOf(batch);
  const expected = prompts.flatMap(({ index, tokens }) =>
    Array.from({ length: group }, (_, member) => ({ index, member, promptLength: tokens.length })),
  );
  if (batch.sampleCount !== expected.length) {
    throw new PeerError(`expected ${expected.length} rollouts, received ${batch.sampleCount}`);
  }
  return expected.map(({ index, member, promptLength }, i): Rollout => {
    const [prompt, which] = [rows['prompt']![i]![0], rows['member']![i]![0]];
    if (prompt !== index || which !== member) {
      throw new PeerError(`expected completion ${member} of prompt ${index}, received ${which} of ${prompt}`);
    }
    const numbers = <T extends BatchNumbers>(name: string) => rows[name]![i]!.slice(0, lengthAt(rows, i)) as T;
    const [tokens, ended] = [numbers<Int32Array>('tokens'), rows['ended']![i]![0] === 1];
    const problem = completionProblem({ tokens, ended, promptLength }, limits);
    if (problem !== undefined) throw new PeerError(`completion ${member} of prompt ${index}: ${problem}`);
    return {
      prompt,
      member,
      tokens,
      logprobs: numbers<Float32Array>('logprobs'),
      reference: numbers<Float32Array>('reference'),
      ...(hasValues && { values: numbers<Float32Array>('values') }),
      ended,
    };
  });
}

/** What is wrong with a completion of a prompt of this length; undefined if a model can have drawn it. */
function completionProblem(
  { tokens, ended, promptLength }: { tokens: Int32Array; ended: boolean; promptLength: number },
  { blockSize, endToken }: CompletionLimits,
): string | undefined {
  // The last token is predicted from a full context, and needs no place in it.
  const room = blockSize - promptLength + 1;
  if (tokens.length > room) {
    return `expected at most ${room} tokens after a prompt of ${promptLength}, received ${tokens.length}`;
  }
  const end = endToken === undefined ? -1 : tokens.indexOf(endToken);
  if (end >= 0 && end < tokens.length - 1)
    return `expected nothing after the end token, received ${tokens.length} tokens`;
  if (ended === end >= 0) return undefined;
  return ended ? 'expected the end token last, as the completion ended' : 'expected no end token, as it did not end';
}

function rolloutFields({ vocabSize, group, maxTokens, hasValues }: RolloutLimits): FieldRules {
  const axes = [{ name: 'T', min: 1, max: maxTokens }];
  const logprobs = { dtype: 'float32', axes, min: logprobMin, max: 0 } as const;
  return {
    prompt: one(0, indexMax),
    member: one(0, group - 1),
    ended: one(0, 1),
    length: one(1, maxTokens),
    tokens: { dtype: 'int32', axes, min: 0, max: vocabSize - 1 },
    logprobs,
    reference: logprobs,
    ...(hasValues && { values: { dtype: 'float32', axes, min: -valueMax, max: valueMax } }),
  };
}

function one(min: number, max: number): FieldRules[string] {
  return { dtype: 'int32', axes: [{ name: 'one', min: 1, max: 1 }], min, max };
}

/** Each array of a batch, divided into samples. */
function rowsOf({ sampleCount, arrays }: Batch): Record<string, BatchNumbers[]> {
  const rows = Object.entries(arrays).map(([name, { shape, data }]): [string, BatchNumbers[]] => {
    const [width = 1] = shape;
    return [name, Array.from({ length: sampleCount }, (_, i) => data.subarray(i * width, (i + 1) * width))];
  });
  return Object.fromEntries(rows);
}

function lengthAt(rows: Record<string, BatchNumbers[]>, index: number): number {
  const [length, { length: width }] = [rows['length']![index]![0]!, rows['tokens']![index]!];
  if (length > width) throw new PeerError(`expected at most ${width} tokens, received a length of ${length}`);
  return length;
}

function padded<T extends BatchNumbers>(rows: readonly ArrayLike<number>[], into: T): T {
  const width = into.length / Math.max(1, rows.length);
  for (const [i, row] of rows.entries()) into.set(row, i * width);
  return into;
}
