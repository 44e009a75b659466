/** A trained model as a library has it: it continues texts, measures them, and gives back what it took. */
import { setImmediate } from 'node:timers/promises';
import type { ModelConfig } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../base/optionNames.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import { type EngineOptions, engineOptionNames } from '../engine/registry.ts';
import { continueText } from './continueText.ts';
import { evaluateTokens, measures } from './evaluateTokens.ts';
import { emitWarning } from './findCheckpoint.ts';
import { type LoadedModel, loadModel } from './loadModel.ts';

/** Where a model is loaded from besides its path, and on what it computes. */
export interface LoadCheckpointOptions {
  /** Where a relative path starts. Default: the working folder of the process. */
  readonly cwd?: string;
  /** Default: the native engine where it is built, else TensorFlow.js. */
  readonly engine?: EngineOptions;
  /** Of a run directory: the checkpoint with the lowest validation loss, not the newest. Default false. */
  readonly best?: boolean;
  /** Told of each damaged checkpoint that was passed over, and what was taken instead; and of a slow engine in place of the native one. Default: `process.emitWarning`. */
  readonly onWarning?: (message: string) => void;
}

/** How a text is continued. */
export interface GenerateTextOptions {
  /** Tokens after the prompt. Default 200. */
  readonly maxTokens?: number;
  /** Below 1 likelier tokens, above 1 more variety, 0 always the likeliest. Default 0.8. */
  readonly temperature?: number;
  /** Draw from so many likeliest tokens; 0 from all. Default 200. */
  readonly topK?: number;
  /** Draw from the likeliest that together have this probability. Default 1: all. */
  readonly topP?: number;
  /** Equal seeds give equal texts. Default 1337. */
  readonly seed?: number;
  /** Names of special tokens in the prompt, like `<|endoftext|>`, stand for them. Default false: they are text. */
  readonly specialTokens?: boolean;
  /** Ends the text before its next token; the iterator throws its reason. */
  readonly signal?: AbortSignal;
}

/** How well a model predicts a text. */
export interface TextEvaluation {
  /** Mean over the tokens, in nats. */
  readonly loss: number;
  /** e to the power of `loss`. */
  readonly perplexity: number;
  /** For comparing models with different tokenizers. */
  readonly bitsPerByte: number;
  /** Tokens that were predicted: all but the first. */
  readonly tokens: number;
  /** UTF-8 bytes that they stand for. */
  readonly bytes: number;
}

/** A model that can compute, from {@link loadCheckpoint}. Holds memory and threads until `dispose`. */
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

  /** Updates that it was trained for; undefined for a model that no run wrote. */
  get step(): number | undefined {
    return this.#loaded.checkpoint.step;
  }

  /** Its sizes. */
  get config(): ModelConfig {
    return this.#loaded.model.config;
  }

  /** The one that it was trained with. */
  get tokenizer(): Tokenizer {
    return this.#loaded.tokenizer;
  }

  /** One line for people: which checkpoint, how large, on what it computes. */
  get description(): string {
    return this.#loaded.description;
  }

  /**
   * Yields the text that follows `prompt`, piece by piece; a character whose bytes are split over tokens comes whole. Several may be
   * under way: they take turns, token by token. Leaving the loop early gives back what it took.
   * @throws UserError for an empty prompt, characters outside the vocabulary, a number out of its range
   */
  async *generate(prompt: string, options: GenerateTextOptions = {}): AsyncGenerator<string, void, undefined> {
    this.#check();
    checkOptionNames('generate', options, generateNames);
    const { signal, ...given } = options;
    const text = { maxTokens: 200, temperature: 0.8, topK: 200, topP: 1, seed: 1337, ...given };
    checkRanges(text);
    signal?.throwIfAborted();
    const pieces = continueText(this.#loaded, { prompt, ...text }, () => signal?.throwIfAborted());
    // The first piece is the prompt.
    await pieces.next();
    for await (const piece of pieces) {
      yield piece;
      // On a CPU a token is computed before its promise is looked at: timers, sockets and other texts get their turn here.
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
    const tokens = this.tokenizer.encode(text);
    if (tokens.length < 2) {
      throw new UserError(`expected a text of at least 2 tokens to evaluate, received ${tokens.length}`);
    }
    return measures(await evaluateTokens(this.#loaded, [tokens]));
  }

  /** Gives back memory and threads, once; what is still being generated ends with an error. */
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
 * @param path a checkpoint, a run directory (its newest whole checkpoint), or a GPT-2 folder in Hugging Face's layout
 * @throws UserError for a path that is no checkpoint, a damaged one, an engine that is not there
 * @example
 * ```ts
 * const model = await loadCheckpoint('runs/quickstart');
 * for await (const piece of model.generate('export function ', { maxTokens: 100 })) process.stdout.write(piece);
 * await model.dispose();
 * ```
 */
export async function loadCheckpoint(path: string, options: LoadCheckpointOptions = {}): Promise<TrainedModel> {
  checkOptionNames('loadCheckpoint', options, loadNames);
  if (options.engine !== undefined) checkOptionNames("loadCheckpoint's engine", options.engine, engineOptionNames);
  const { cwd = process.cwd(), engine = { name: 'auto' }, best, onWarning = emitWarning } = options;
  return new TrainedModel(await loadModel({ path, best, cwd, engine, onWarning }));
}

const loadNames = { cwd: true, engine: true, best: true, onWarning: true } satisfies OptionNames<LoadCheckpointOptions>;

const generateNames = {
  maxTokens: true,
  temperature: true,
  topK: true,
  topP: true,
  seed: true,
  specialTokens: true,
  signal: true,
} satisfies OptionNames<GenerateTextOptions>;

function checkRanges(options: Record<'maxTokens' | 'temperature' | 'topK' | 'topP' | 'seed', number>): void {
  const ranges = {
    maxTokens: { min: 0, max: 1e9, whole: true },
    temperature: { min: 0, max: 100, whole: false },
    topK: { min: 0, max: 2 ** 31, whole: true },
    topP: { min: 1e-4, max: 1, whole: false },
    seed: { min: 0, max: 2 ** 32 - 1, whole: true },
  };
  for (const [name, { min, max, whole }] of Object.entries(ranges)) {
    const value = options[name as keyof typeof ranges];
    if (value >= min && value <= max && (!whole || Number.isInteger(value))) continue;
    throw new UserError(
      `${name}: expected ${whole ? 'a whole number' : 'a number'} from ${min} to ${max}, received ${value}`,
    );
  }
}
