/** All architectures, and functions of a model's config for any of them. */
import { z } from 'zod';
import { invariant, UserError } from '../base/errors.ts';
import { nearestWord } from '../base/nearest.ts';
import type { Architecture, Network, Sizes } from './architecture.ts';
import { bigram } from './bigram.ts';
import { encoderDecoder } from './encoderDecoder.ts';
import { gpt2 } from './gpt2.ts';
import { gpt2HuggingFace } from './gpt2HuggingFace.ts';
import { llamaHuggingFace } from './llamaHuggingFace.ts';
import { marianHuggingFace } from './marianHuggingFace.ts';
import { Declarations, type ParameterSpec } from './parameters.ts';
import { transformer } from './transformer.ts';

/** One line each; the first is the default. */
const all = [
  { ...gpt2, huggingFace: gpt2HuggingFace }, //
  bigram,
  { ...transformer, huggingFace: llamaHuggingFace },
  { ...encoderDecoder, huggingFace: marianHuggingFace },
] as const satisfies readonly Architecture[];

export const architectures: readonly Architecture[] = all;

const [first, ...others] = all;

/** The keys of each architecture, in the order of {@link all}. */
export const keysOfEach = [first.keys, ...others.map(({ keys }) => keys)] as const;

/** A model's config. */
export const modelKeys = z.discriminatedUnion('architecture', keysOfEach);

/** The config of a model: its architecture and sizes. `vocabSize` is not 0 here. */
export type ModelConfig = Readonly<Parameters<(typeof all)[number]['network']>[0]>;

/** A network with its declared parameters. */
export interface DeclaredNetwork extends Network {
  /** In reading order: from the embedding to the head. */
  readonly specs: readonly ParameterSpec[];
}

/** The architecture with this name, if it exists. */
export function findArchitecture(name: unknown): Architecture | undefined {
  return architectures.find((architecture) => architecture.name === name);
}

/** The architecture of a model. */
export function architectureOf({ architecture: name }: Sizes): Architecture {
  const architecture = findArchitecture(name);
  invariant(architecture !== undefined, `there is no architecture ${name}`);
  return architecture;
}

/** Describes the problem of a model's config in one sentence; undefined if it is valid. */
export function modelProblem(config: ModelConfig): string | undefined {
  const { keys, rules } = architectureOf(config);
  const result = keys.safeParse(config);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    const { path, message } = issue;
    if (issue.code === 'unrecognized_keys') return unknownKey(issue.keys[0]!, Object.keys(keys.shape));
    return `model.${path.join('.')}: ${message}`;
  }
  if (config.vocabSize === 0) return 'model.vocabSize must be at least 1';
  const values: Readonly<Record<string, unknown>> = { ...config };
  const broken = rules.find((rule) => !rule.holds(config));
  return (
    broken && `model.${broken.key} ${values[broken.key]} ${broken.must} model.${broken.other} ${values[broken.other]}`
  );
}

function unknownKey(name: string, known: readonly string[]): string {
  const guess = nearestWord(name, known);
  const hint = guess === undefined ? `Keys: ${known.join(', ')}.` : `Did you mean ${guess}?`;
  return `unknown key model.${name.slice(0, 100)}. ${hint}`;
}

/** The model of a config. UserError for an invalid config, which a program may have built. */
export function networkOf(config: ModelConfig): DeclaredNetwork {
  const problem = modelProblem(config);
  if (problem !== undefined) throw new UserError(problem);
  const declare = new Declarations();
  const network = architectureOf(config).network(config, declare);
  return { ...network, specs: declare.specs };
}

/** Number of elements in all parameters of the model; a tied head counts once. */
export function parameterCount(config: ModelConfig): number {
  return networkOf(config).specs.reduce((sum, { size }) => sum + size, 0);
}

/** The classes of a model's head, in order; none for a language model. */
export function labelsOf(config: ModelConfig): readonly string[] {
  return ('labels' in config && config.labels) || [];
}

/** Whether a model is an encoder–decoder: it needs a source for each of its sequences. */
export function hasEncoder(config: ModelConfig): boolean {
  return 'encoderLayers' in config;
}

/** The token that every target of an encoder–decoder begins with; undefined: the one that ends it. */
export function beginTokenOf(config: ModelConfig): number | undefined {
  const token = 'beginToken' in config ? config.beginToken : undefined;
  return token === undefined || token < 0 ? undefined : token;
}

/** Why a model cannot predict or continue texts, after "the model"; undefined if it can. */
export function generationProblem(config: ModelConfig): string | undefined {
  return decodingProblem(config) ?? (hasEncoder(config) ? 'needs a source, and does not continue texts' : undefined);
}

/** Why a model cannot generate texts, from a source if it needs one, after "the model"; undefined if it can. */
export function decodingProblem(config: ModelConfig): string | undefined {
  const labels = labelsOf(config);
  if (labels.length === 0) return undefined;
  const shown = labels.length > labelsShown ? [...labels.slice(0, labelsShown), '…'] : labels;
  return labels.length === 1
    ? `scores texts (${labels[0]}) and does not predict or generate them`
    : `classifies texts (${shown.join(', ')}) and does not predict or generate them`;
}

const labelsShown = 10;

/** A key in which two models differ. */
export interface ModelDifference {
  readonly key: string;
  readonly one: unknown;
  readonly other: unknown;
}

/** The first key in which two models differ such that they cannot share parameters; dropout does not count. */
export function modelDifference(one: ModelConfig, other: ModelConfig): ModelDifference | undefined {
  if (one.architecture !== other.architecture) {
    return { key: 'architecture', one: one.architecture, other: other.architecture };
  }
  const { keys, trainingKeys } = architectureOf(one);
  const [values, otherValues] = [one, other].map((config) => withAddedKeys(withComputedSizes(config))) as [Keys, Keys];
  const key = Object.keys(keys.shape).find(
    (each) => !trainingKeys.some((own) => own === each) && !isSameValue(values[each], otherValues[each]),
  );
  return key === undefined ? undefined : { key, one: values[key], other: otherValues[key] };
}

/** The config with the sizes of keys whose 0 means one that is computed; files of other libraries have only these. */
export function withComputedSizes(config: ModelConfig): ModelConfig {
  return (architectureOf(config).computedSizes?.(config) ?? config) as ModelConfig;
}

type Keys = Readonly<Record<string, unknown>>;

/** The keys of a model by name, including those of which nothing is added. */
export function withAddedKeys(config: ModelConfig): Keys {
  const { keys, addedKeys } = architectureOf(config);
  const added = addedKeys.map((key) => [key, (keys.shape[key] as z.ZodType).parse(undefined)] as const);
  return { ...Object.fromEntries(added), ...config };
}

/** Whether two values of a config are equal. */
export function isSameValue(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
