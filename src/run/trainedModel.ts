/** A trained model in the library: it continues and evaluates texts, and releases its resources. */
import { setImmediate } from 'node:timers/promises';
import type { ModelConfig } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../base/optionNames.ts';
import { checkOptionTypes, checkPath, received } from '../base/optionValues.ts';
import { newTokenArray } from '../data/tokenArray.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import { type EngineOptions, engineOptionNames } from '../engine/registry.ts';
import { textTokens } from '../task/textTokens.ts';
import { noBeams } from './answers.ts';
import { type Classification, classifyTexts, tooLongTexts } from './classifyTexts.ts';
import { continueText, promptTokens } from './continueText.ts';
import { evaluateTokens, measures } from './evaluateTokens.ts';
import { emitWarning } from './findCheckpoint.ts';
import { type LoadedModel, loadModel } from './loadModel.ts';
import { checkEncoder, targetsOf } from './mostLikelyTarget.ts';
import { answerScorer } from './scoreAnswers.ts';

/** Options to load a model, besides its path. */
export interface LoadCheckpointOptions {
  /** Where a relative path starts. Default: the working folder of the process. */
  readonly cwd?: string;
  /** Default: the native engine if it is built, otherwise TensorFlow.js. */
  readonly engine?: EngineOptions;
  /** For a run directory: take the checkpoint with the lowest validation loss instead of the newest. Default false. */
  readonly best?: boolean;
  /**
   * Called for each damaged checkpoint that was skipped, with the one used instead, and for a slow engine in place of the native one.
   * Default: `process.emitWarning`.
   */
  readonly onWarning?: (message: string) => void;
}

/** Options of a continuation. */
export interface GenerateTextOptions {
  /** Number of tokens after the prompt. Default 200. */
  readonly maxTokens?: number;
  /** Below 1 favours likely tokens, above 1 adds variety, 0 always takes the most likely. Default 0.8. */
  readonly temperature?: number;
  /** Sample from the K most likely tokens; 0: all. Default 200. */
  readonly topK?: number;
  /** Sample from the most likely tokens with this total probability. Default 1: all. */
  readonly topP?: number;
  /** Sample from tokens that are at least this fraction as probable as the likeliest. Default 0: all. */
  readonly minP?: number;
  /** Divides the logits of tokens that the text already has, or multiplies negative ones: above 1, these are repeated less. Default 1. */
  readonly repetitionPenalty?: number;
  /** The same seed gives the same text. Default 1337. */
  readonly seed?: number;
  /** Parse special tokens such as `<|endoftext|>` in the prompt. Default false: they are text. */
  readonly specialTokens?: boolean;
  /** Continue after the token that ends a document or an answer; its name is then part of the text. Default false: it ends the text. */
  readonly ignoreEos?: boolean;
  /** Ends the text before its next token; the iterator throws its reason. */
  readonly signal?: AbortSignal;
}

/** Options of a translation. */
export interface TranslateOptions {
  /** Number of beginnings of a target that a beam search continues at a time. Default 1: the most likely token every time. */
  readonly beams?: number;
  /** The score of a target in the search is the sum of its log probabilities, divided by its length to this power. Default 1. */
  readonly lengthPenalty?: number;
  /** Number of tokens of a target, at most the model's `blockSize`. Default: `blockSize`. */
  readonly maxTokens?: number;
}

/** Options of a classification. */
export interface ClassifyOptions {
  /** What happens to a text that is longer than the model's context: `truncate` classifies its beginning. Default `error`. */
  readonly tooLong?: 'error' | 'truncate';
}

/** An answer to a prompt, which a reward model scores. */
export interface AnsweredPrompt {
  /** The message of the user. */
  readonly prompt: string;
  /** The answer. */
  readonly completion: string;
}

/** How well a model predicts a text. */
export interface TextEvaluation {
  /** Mean over the tokens, in nats. */
  readonly loss: number;
  /** e to the power of `loss`. */
  readonly perplexity: number;
  /** For comparing models with different tokenizers. */
  readonly bitsPerByte: number;
  /** Number of predicted tokens: all but the first. */
  readonly tokens: number;
  /** Number of UTF-8 bytes of these tokens. */
  readonly bytes: number;
}

/** A loaded model, from {@link loadCheckpoint}. It holds memory and threads until `dispose`. */
export class TrainedModel {
  readonly #loaded: LoadedModel;
  #isDisposed = false;

  /** @internal */
  constructor(loaded: LoadedModel) {
    this.#loaded = loaded;
  }

  /** The checkpoint's folder. */
  get path(): string {
    return this.#loaded.checkpoint.path;
  }

  /** Number of training updates; undefined for a model that no run wrote. */
  get step(): number | undefined {
    return this.#loaded.checkpoint.step;
  }

  /** Its sizes. */
  get config(): ModelConfig {
    return this.#loaded.model.config;
  }

  /** The tokenizer that it was trained with. */
  get tokenizer(): Tokenizer {
    return this.#loaded.tokenizer;
  }

  /** One line of text: the checkpoint, its size and the engine. */
  get description(): string {
    return this.#loaded.description;
  }

  /**
   * Yields the continuation of `prompt`, or the target of a source in a model with an encoder, piece by piece, up to the model's end token or `maxTokens`. A character whose bytes are split over tokens comes in one piece. Several calls
   * can run at once: they take turns, token by token. Leaving the loop early releases its memory.
   * @throws UserError for an empty prompt, characters outside the vocabulary, a number out of its range
   */
  async *generate(prompt: string, options: GenerateTextOptions = {}): AsyncGenerator<string, void, undefined> {
    this.#check();
    checkOptionNames('generate', options, generateNames);
    checkOptionTypes(options, { specialTokens: 'true or false', ignoreEos: 'true or false', signal: 'an AbortSignal' });
    checkTexts('generate', [prompt]);
    const { signal, ...given } = options;
    const text = { maxTokens: 200, temperature: 0.8, topK: 200, topP: 1, seed: 1337, ...given };
    checkRanges(text);
    signal?.throwIfAborted();
    const pieces = continueText(this.#loaded, { prompt, ...text }, () => signal?.throwIfAborted());
    // The first piece is the prompt.
    await pieces.next();
    for await (const piece of pieces) {
      yield piece;
      // On a CPU a token is computed synchronously, so let timers, sockets and other texts run here.
      await setImmediate();
      signal?.throwIfAborted();
      this.#check();
    }
  }

  /**
   * The loss over a text, in windows of the model's context that do not overlap.
   * @throws UserError for a text of fewer than two tokens, or with characters outside the vocabulary
   */
  async evaluate(text: string): Promise<TextEvaluation> {
    this.#check();
    checkTexts('evaluate', [text]);
    const own = textTokens(this.tokenizer, text);
    const tokens = newTokenArray(this.tokenizer.vocabSize, own.length);
    tokens.set(own);
    if (tokens.length < 2) {
      throw new UserError(`expected a text of at least 2 tokens to evaluate, received ${tokens.length}`);
    }
    return measures(await evaluateTokens(this.#loaded, [tokens]));
  }

  /**
   * The target of each source, such as its translation, for a model with an encoder.
   * @throws UserError for a model without an encoder, and for a source that is empty, too long, or has characters outside the vocabulary
   */
  async translate(sources: readonly string[], options: TranslateOptions = {}): Promise<string[]> {
    this.#check();
    checkOptionNames('translate', options, translateNames);
    checkEncoder(this.#loaded, 'translate');
    checkTexts('translate', sources);
    const { maxTokens = this.config.blockSize, ...given } = options;
    const beams = { ...noBeams, ...given };
    checkRanges({ ...beams, maxTokens });
    const empty = sources.findIndex((source) => source.trim() === '');
    if (empty >= 0) throw new UserError(`translate: text ${empty + 1} is empty: expected a source`);
    const tokens = sources.map((source) => promptTokens(this.tokenizer, source));
    return (await targetsOf(this.#loaded, tokens, { beams, maxTokens })).map(({ text }) => text);
  }

  /**
   * The class of each text, for a model with labels.
   * @throws UserError for a model without classes, and for a text that is empty, too long without `tooLong: 'truncate'`, or has characters
   * outside the vocabulary
   */
  async classify(texts: readonly string[], options: ClassifyOptions = {}): Promise<Classification[]> {
    this.#check();
    checkOptionNames('classify', options, classifyNames);
    checkTexts('classify', texts);
    const { tooLong = 'error' } = options;
    if (!tooLongTexts.includes(tooLong)) {
      throw new UserError(`tooLong: expected ${tooLongTexts.join(' or ')}, received ${JSON.stringify(tooLong)}`);
    }
    return classifyTexts(this.#loaded, texts, { tooLong, cure: "tooLong: 'truncate'" });
  }

  /**
   * The score of each answer to its prompt, for a reward model. An answer counts as ended, and a prompt that is too long loses its start.
   * @throws UserError for a model that is not a reward model, a prompt that is empty, and characters outside the vocabulary
   */
  async score(answers: readonly AnsweredPrompt[]): Promise<number[]> {
    this.#check();
    const scored = answers.map((answer, i) => {
      const { prompt, completion } = answer;
      if (typeof prompt !== 'string' || prompt === '' || typeof completion !== 'string') {
        throw new UserError(
          `answers[${i}]: expected { prompt, completion }, two texts of which only the answer may be empty`,
        );
      }
      return { messages: [{ role: 'user' as const, content: prompt }], completion };
    });
    return answerScorer(this.#loaded, this.path)(scored);
  }

  /** Releases memory and threads, once. Generation in progress ends with an error. */
  async dispose(): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    await this.#loaded.engine.dispose();
  }

  #check(): void {
    if (this.#isDisposed) throw new UserError(`${this.path} was disposed: load it again`);
  }
}

/**
 * Loads a model to generate and evaluate with.
 * @param path a checkpoint, a run directory (its newest complete checkpoint), or a folder of Hugging Face's GPT-2, Llama or MarianMT
 * @throws UserError for a path that is not a checkpoint, a damaged checkpoint, or a missing engine
 * @example
 * ```ts
 * const model = await loadCheckpoint('runs/quickstart');
 * for await (const piece of model.generate('export function ', { maxTokens: 100 })) process.stdout.write(piece);
 * await model.dispose();
 * ```
 */
export async function loadCheckpoint(path: string, options: LoadCheckpointOptions = {}): Promise<TrainedModel> {
  checkPath('loadCheckpoint', path);
  checkOptionNames('loadCheckpoint', options, loadNames);
  checkOptionTypes(options, { cwd: 'a path', best: 'true or false', onWarning: 'a function' });
  if (options.engine !== undefined) checkOptionNames("loadCheckpoint's engine", options.engine, engineOptionNames);
  const { cwd = process.cwd(), engine = { name: 'auto' }, best, onWarning = emitWarning } = options;
  return new TrainedModel(await loadModel({ path, best, cwd, engine, onWarning }));
}

/** Callers in JavaScript have no types. @throws UserError that says what the method expects */
function checkTexts(of: string, texts: unknown): void {
  if (!Array.isArray(texts)) {
    const cure = typeof texts === 'string' ? `: put it into one, as in ${of}([text])` : '';
    throw new UserError(`${of}: expected an array of texts, received ${kindOf(texts)}${cure}`);
  }
  const wrong = texts.findIndex((text) => typeof text !== 'string');
  if (wrong >= 0) throw new UserError(`${of}: text ${wrong + 1}: expected a string, received ${kindOf(texts[wrong])}`);
}

function kindOf(value: unknown): string {
  if (value === undefined || value === null) return String(value);
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

const loadNames = { cwd: true, engine: true, best: true, onWarning: true } satisfies OptionNames<LoadCheckpointOptions>;

const translateNames = { beams: true, lengthPenalty: true, maxTokens: true } satisfies OptionNames<TranslateOptions>;

const classifyNames = { tooLong: true } satisfies OptionNames<ClassifyOptions>;

const generateNames = {
  maxTokens: true,
  temperature: true,
  topK: true,
  topP: true,
  minP: true,
  repetitionPenalty: true,
  seed: true,
  specialTokens: true,
  ignoreEos: true,
  signal: true,
} satisfies OptionNames<GenerateTextOptions>;

const ranges = {
  maxTokens: { min: 0, max: 1e9, whole: true },
  temperature: { min: 0, max: 100, whole: false },
  topK: { min: 0, max: 2 ** 31, whole: true },
  topP: { min: 1e-4, max: 1, whole: false },
  minP: { min: 0, max: 1, whole: false },
  repetitionPenalty: { min: 0.01, max: 100, whole: false },
  seed: { min: 0, max: 2 ** 32 - 1, whole: true },
  beams: { min: 1, max: 64, whole: true },
  lengthPenalty: { min: -10, max: 10, whole: false },
} as const;

function checkRanges(options: Partial<Record<keyof typeof ranges, number>>): void {
  for (const [name, { min, max, whole }] of Object.entries(ranges)) {
    const value: unknown = options[name as keyof typeof ranges];
    if (value === undefined) continue;
    if (typeof value === 'number' && value >= min && value <= max && (!whole || Number.isInteger(value))) continue;
    throw new UserError(
      `${name}: expected ${whole ? 'a whole number' : 'a number'} from ${min} to ${max}, received ${received(value)}`,
    );
  }
}
