/**
 * What an architecture is: one description from which all else follows. The config takes its keys and their documentation from it,
 * checkpoints their tensors and config.json, training its parameters and forward pass, plans and benches what a step is worth.
 *
 * Pure data and functions over {@link Ops}: no tensor, no engine, no file. The table of all is registry.ts.
 */
import { z } from 'zod';
import type { Linear, Ops, Tokens } from './ops.ts';
import type { Declarations } from './parameters.ts';

/** What every model's config has, whatever its architecture. */
export interface Sizes {
  readonly architecture: string;
  /** V: tokens in the vocabulary. */
  readonly vocabSize: number;
  /** The longest context, in tokens. */
  readonly blockSize: number;
}

/** A model of one config: its parameters are declared by then. */
export interface Network {
  /** Final hidden states [B, T, C] of tokens [B, T], from which `head` makes logits; the logits [B, T, V] themselves without one. */
  forward<V>(ops: Ops<V>, tokens: Tokens): V;
  /** Apart from forward, since training computes it together with the loss and never has all logits. */
  readonly head?: Linear;
}

/** What one token costs that the forward pass does not say (work.ts). */
export interface TokenWork {
  /** Parameters that are read to generate a token: all but tables of which a row is looked up. */
  readonly parametersRead: number;
  /** Numbers that an evaluation holds for it at once, at most. The head's logits come in chunks and are not among them. */
  readonly activations: number;
}

/** A rule between two keys: `model.nEmbd = 10 must be divisible by model.nHead = 3`. */
export interface KeyRule<Config> {
  readonly key: string;
  readonly other: string;
  /** Stands between the two keys in the message. */
  readonly must: string;
  holds(config: Config): boolean;
}

/** The format of another library's checkpoints. */
export interface HuggingFaceFormat<Config> {
  /** `model_type` in its config.json. */
  readonly modelType: string;
  /**
   * What config.json says of a model, in the order of its lines.
   * @param endOfText the id of the token that ends a document, and so stands before the next; undefined if its tokenizer has none
   */
  encode(config: Config, endOfText: number | undefined): Readonly<Record<string, unknown>>;
  /**
   * The config of a parsed config.json.
   * @throws UserError for a variant that the architecture does not compute
   */
  decode(json: Readonly<Record<string, unknown>>, path: string): Config;
  /**
   * The config of the model whose tensors have these names: what they show counts, whatever `config` says. Absent where names show
   * nothing.
   */
  ofTensors?(config: Config, names: readonly string[]): Config;
  /** Our name for a tensor in a file of that format; undefined if the tensor is not a parameter. */
  parameterName(name: string, config: Config): string | undefined;
  /** The published tokenizer of a folder that has none. */
  tokenizer?(config: Config): 'gpt2' | undefined;
}

/** One architecture: its file and a line in registry.ts are all that it needs. */
export interface Architecture<Config extends Sizes = Sizes> {
  /** As `model.architecture` says it. */
  readonly name: string;
  /** One sentence for the documentation of the config. */
  readonly doc: string;
  /** Its keys in the `model` group of a config, with their defaults and documentation. */
  readonly keys: z.ZodObject;
  /** Keys that do not change what the parameters are: a run resumes with others. */
  readonly trainingKeys: readonly string[];
  readonly rules: readonly KeyRule<Config>[];
  /** Declares the parameters in reading order, and returns the model that uses them. */
  network(config: Config, declare: Declarations): Network;
  tokenWork(config: Config, parameterCount: number): TokenWork;
  /** Its size for people: `4 layers, 4 heads, 128 wide`. */
  summary(config: Config): string;
  /** Absent where no other library has such a model: its config.json says `model_type: lockstep`. */
  readonly huggingFace?: HuggingFaceFormat<Config>;
}

/** Of the key that chooses an architecture. */
export const architectureDoc = 'The kind of network, on which the other keys depend.';

/** That key of the architecture of configs that name none; the others have a literal. */
export function defaultArchitectureKey<const Name extends string>(name: Name) {
  // Optional as well, so that a union finds it by a key that is not there.
  return z
    .literal(name)
    .optional()
    .default(name as z.core.util.NoUndefined<Name>)
    .meta({ description: architectureDoc, expects: name });
}
