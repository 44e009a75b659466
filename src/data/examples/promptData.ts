/**
 * The data of a run that writes its own samples: prompts. There is nothing to train on until the model has answered them
 * (coordinator/rollouts).
 */
import { createHash } from 'node:crypto';
import { InvariantError, UserError } from '../../base/errors.ts';
import { grouped } from '../../base/numberText.ts';
import { optionName } from '../../base/ownCommand.ts';
import type { PolicyKind } from '../../task/kinds.ts';
import type { Prompt, PromptReader } from '../../task/prompts.ts';
import type { PlacedRow } from '../../task/rows.ts';
import { paddedTo } from '../../task/task.ts';
import { withoutBegin } from '../../task/textTokens.ts';
import { embeddingRows } from '../embeddingRows.ts';
import type { RunData } from '../runData.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { builtinRows } from './builtinRows.ts';
import type { TooLong } from './exampleSamples.ts';
import type { ExampleSetOptions, TaskRows } from './exampleSet.ts';
import { readRows } from './readRows.ts';

export interface PromptDataOptions extends Pick<ExampleSetOptions, 'cwd' | 'onNotice' | 'data'> {
  readonly kind: PolicyKind;
  readonly blockSize: number;
  /** `model.vocabSize`. */
  readonly vocabSize: number;
  /** Whether the model starts from weights, rather than from random ones. */
  readonly hasWeights: boolean;
  readonly tooLong: TooLong;
  /** Number of prompts of an iteration, of completions of each, of passes over them, and of tokens of the longest: keys of `task`. */
  readonly prompts: number;
  readonly group: number;
  readonly inner: number;
  readonly maxTokens: number;
  readonly readerFor: (rows: TaskRows) => Promise<{ reader: PromptReader; tokenizer: Tokenizer }>;
}

/** Number of tokens at the start of a prompt that its first word is looked for in. */
const openingTokens = 16;

/** @throws UserError for missing or damaged files, and for a row that is not a prompt, or too long; it names the file and line */
export async function promptData(options: PromptDataOptions): Promise<RunData> {
  const { data, cwd, onNotice } = options;
  const names = [data.examples].flat();
  if ([data.validation].flat().length > 0) {
    throw new UserError(
      `data.validation is not used with task.kind: ${options.kind}: omit it. The metrics of each iteration show the rewards`,
    );
  }
  const format = data.format === 'auto' ? undefined : data.format;
  const { columns } = data;
  const where = { paths: names, setting: 'data.examples', cwd, builtinPath: builtinRows(options.kind) };
  const rows = await readRows({ ...where, format, columns, onNotice });
  const { reader, tokenizer } = await options.readerFor({ examples: rows, all: rows });
  const prompts = fitting(
    rows.map(({ row, at }: PlacedRow) => reader.read(row, at)),
    options,
  );
  if (prompts.length < options.prompts) {
    throw new UserError(
      `task.prompts is ${options.prompts}, but data.examples has ${grouped(prompts.length)} prompts: each is answered once in an iteration. ` +
        `Set task.prompts=${prompts.length}, with a larger task.group for as many answers, or give more rows`,
    );
  }
  return runData(prompts, { ...options, names, tokenizer, endToken: reader.endToken });
}

function fitting(
  prompts: readonly Prompt[],
  { kind, blockSize, hasWeights, tooLong, onNotice }: PromptDataOptions,
): Prompt[] {
  const long = prompts.filter(({ tokens }) => tokens.length > blockSize);
  const [first] = long;
  if (first === undefined) return [...prompts];
  const found =
    `${grouped(long.length)} of ${grouped(prompts.length)} prompts with more than model.blockSize: ${blockSize} tokens, ` +
    `for example ${first.at} with ${grouped(first.tokens.length)}`;
  const left = prompts.filter(({ tokens }) => tokens.length <= blockSize);
  if (tooLong !== 'drop' || left.length === 0) {
    // Without weights the context and the template are defaults, which nobody chose for these prompts.
    const cure = hasWeights
      ? 'Shorten them, or set task.tooLong=drop to leave them out'
      : `task.kind: ${kind} is for trained weights, which have a context and a template of their own: name them, such as ${optionName('init-from')} runs/sft`;
    throw new UserError(`data.examples: found ${found}. ${cure}`);
  }
  onNotice(`left out ${found} (task.tooLong)`);
  return left;
}

function runData(
  prompts: readonly Prompt[],
  options: PromptDataOptions & { names: readonly string[]; tokenizer: Tokenizer; endToken: number },
): RunData {
  const { kind, names, tokenizer, endToken, vocabSize, group, inner, maxTokens, blockSize } = options;
  const tokens = prompts.reduce((sum, prompt) => sum + prompt.tokens.length, 0);
  const answered = prompts.filter(({ expected }) => expected !== undefined).length;
  const longest = prompts.reduce((length, prompt) => Math.max(length, prompt.tokens.length), 0);
  const first = withoutBegin(tokenizer, prompts[0]!.tokens);
  return {
    kind: 'examples',
    tokenizer,
    vocabSize: embeddingRows(tokenizer, vocabSize),
    objective: kind,
    description:
      `${names.join(', ')}: ${grouped(prompts.length)} prompts with ${grouped(tokens)} tokens, ${grouped(answered)} with an answer, ` +
      `${tokenizer.kind} tokenizer with ${grouped(tokenizer.vocabSize)} tokens`,
    sha256: createHash('sha256')
      .update(JSON.stringify([kind, prompts.map((prompt) => [prompt.tokens, prompt.expected ?? null])]))
      .digest('hex'),
    // Complete iterations.
    epochSamples: Math.ceil(prompts.length / options.prompts) * options.prompts * group * inner,
    // At most: the model decides how long its answers are.
    sequencesPerSample: 1,
    sampleTokens: Math.min(blockSize, tokens / prompts.length + maxTokens),
    opening: tokenizer.decode(first.slice(0, openingTokens)),
    samplePrompt: promptText(first, tokenizer),
    prompts: { prompts, endToken },
    training: () => {
      throw new InvariantError('a run on prompts has no training samples before it has written them');
    },
    stepLengths: () => () => paddedTo(longest + maxTokens, blockSize),
    validation: () => ({ count: 0, batch: () => ({ sampleCount: 0, arrays: {} }) }),
  };
}

/** Undefined if its text does not give the same tokens. */
function promptText(tokens: readonly number[], tokenizer: Tokenizer): string | undefined {
  const text = tokenizer.decode(tokens);
  const isSame = !text.includes('\uFFFD') && Array.from(tokenizer.encode(text)).join() === tokens.join();
  return isSame ? text : undefined;
}
