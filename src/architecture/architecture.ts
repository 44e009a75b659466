/**
 * An architecture: one description of a model. The config takes its keys and their documentation from it, checkpoints their
 * tensors and config.json, training its parameters and forward pass, and plans and benches the cost of a step.
 *
 * It consists of pure data and functions over {@link Ops}, without tensors, engines or files. registry.ts lists all architectures.
 */
import { z } from 'zod';
import type { Linear, Ops, Tokens } from './ops.ts';
import type { Declarations, ParameterSpec } from './parameters.ts';

/** The keys of every model's config, for any architecture. */
export interface Sizes {
  readonly architecture: string;
  /** V: tokens in the vocabulary. */
  readonly vocabSize: number;
  /** The longest context, in tokens. */
  readonly blockSize: number;
}

/** The model of a config, with its parameters declared. */
export interface Network {
  /** Final hidden states [B, T, C] of tokens [B, T], from which `head` computes logits; without a head, the logits [B, T, V]. */
  forward<V>(ops: Ops<V>, tokens: Tokens, memory?: V): V;
  /**
   * What the encoder of an encoder–decoder makes of a source [B, S], [B, S, C], which is then the `memory` of `forward`. Absent: the model
   * has no source.
   */
  encode?<V>(ops: Ops<V>, source: Tokens): V;
  /** Separate from forward, because training computes it together with the loss and never holds all logits. */
  readonly head?: Linear;
  /** Names of the classes whose logits the head computes, in order; absent: it computes those of the vocabulary. */
  readonly labels?: readonly string[];
  /** A second head with one output, the value of a prefix; absent: the model predicts no values. */
  readonly valueHead?: Linear;
}

/** Costs of a token that cannot be derived from the forward pass (work.ts). */
export interface TokenWork {
  /** Number of parameters read to generate a token: all except tables of which a single row is looked up. */
  readonly parametersRead: number;
  /** Maximum number of values that an evaluation holds per token. The head's logits are computed in chunks and do not count. */
  readonly activations: number;
}

/** A rule between two keys: `model.nEmbd = 10 must be divisible by model.nHead = 3`. */
export interface KeyRule<Config> {
  readonly key: string;
  readonly other: string;
  /** The text between the two keys in the message. */
  readonly must: string;
  holds(config: Config): boolean;
}

/** Name and dimensions of a tensor. */
export type NamedShape = Pick<ParameterSpec, 'name' | 'shape'>;

/** The format of another library's checkpoints. */
export interface HuggingFaceFormat<Config> {
  /** Values of `model_type` in its config.json. */
  readonly modelTypes: readonly [string, ...string[]];
  /**
   * The contents of config.json for a model, in the order of its lines; undefined for one that the format cannot express, whose config.json
   * then has `model_type: lockstep`.
   * @param endOfText the id of the token that ends a document, and so comes before the next; undefined if the tokenizer has none
   */
  encode(config: Config, endOfText: number | undefined): Readonly<Record<string, unknown>> | undefined;
  /**
   * The config of a parsed config.json.
   * @throws UserError for a variant that the architecture does not compute
   */
  decode(json: Readonly<Record<string, unknown>>, path: string): Config;
  /**
   * The config of the model whose tensors have these names, which take precedence over `config`. Absent if names show
   * nothing.
   */
  ofTensors?(config: Config, names: readonly string[]): Config;
  /** The usual name of a tensor in a file of that format; undefined if the tensor is not a parameter, nor a part of one. */
  tensorName(name: string, config: Config): string | undefined;
  /**
   * The tensors that hold a parameter in files of that format, which have its numbers one after another. Absent: one with its name and
   * shape.
   */
  tensorsOf?(parameter: NamedShape, config: Config): readonly NamedShape[];
  /** Tensors of other models of that format which ours lack: their names in a file, which may have them if they are 0. */
  readonly zeros?: readonly string[];
  /** The published tokenizer of a folder that has none. */
  tokenizer?(config: Config): 'gpt2' | undefined;
}

/** One architecture. It needs only its file and a line in registry.ts. */
export interface Architecture<Config extends Sizes = Sizes> {
  /** The value of `model.architecture`. */
  readonly name: string;
  /** One sentence for the documentation of the config. */
  readonly doc: string;
  /** Its keys in the `model` group of a config, with their defaults and documentation. */
  readonly keys: z.ZodObject;
  /** Keys that do not change the parameters: a resumed run may change them. */
  readonly trainingKeys: readonly string[];
  /** The config with the sizes of keys whose 0 means one that is computed. Absent: no key has such a value. */
  computedSizes?(config: Config): Config;
  /** Further keys that a run may choose for the weights of a model, because no parameter depends on them. */
  freeKeys?(config: Config): readonly string[];
  /**
   * Keys that add parameters to those of a model's weights. A run may choose them for weights that have nothing of the kind; the new
   * parameters are then initialised by the seed, and those that the new model lacks are dropped.
   */
  readonly addedKeys: readonly string[];
  readonly rules: readonly KeyRule<Config>[];
  /** Declares the parameters in reading order, and returns the model that uses them. */
  network(config: Config, declare: Declarations): Network;
  /** @param parameterCount without adapters, which are part of the weights when a token is computed */
  tokenWork(config: Config, parameterCount: number): TokenWork;
  /** A description of its size for people: `4 layers, 4 heads, 128 wide`. */
  summary(config: Config): string;
  /** Absent if no other library has this model: its config.json then has `model_type: lockstep`. */
  readonly huggingFace?: HuggingFaceFormat<Config>;
}

/** Documentation of the key that chooses an architecture. */
export const architectureDoc = 'The kind of network, which determines the other keys.';

/** The same key in the default architecture, where it may be missing; the other architectures have a literal. */
export function defaultArchitectureKey<const Name extends string>(name: Name) {
  // Also optional, so that a union selects it if the key is missing.
  return z
    .literal(name)
    .optional()
    .default(name as z.core.util.NoUndefined<Name>)
    .meta({ description: architectureDoc, expects: name });
}
