/**
 * The activations that a model may have, in one list: the config's choice, the kernels of every engine and the names in a checkpoint
 * follow from it. Each engine has a table with an entry for every one: `engine/tfjs/activations.ts` does not compile without it;
 * the native engine (`native/activations.h`) refuses a name that it does not have when it runs, which the parity tests find.
 */
import { invariant } from './errors.ts';

/** One activation. */
interface ActivationEntry {
  /** As in the config. */
  readonly kind: string;
  /** What it computes, for the documentation of the config. */
  readonly doc: string;
  /** Its names in Hugging Face's `config.json`; the first is the one that is written. */
  readonly huggingFace: readonly [string, ...string[]];
}

/** Every activation. */
export const activations = [
  { kind: 'gelu', doc: 'the tanh form that GPT-2 uses', huggingFace: ['gelu_new', 'gelu_pytorch_tanh', 'gelu_fast'] },
  { kind: 'relu', doc: 'max(x, 0)', huggingFace: ['relu'] },
  { kind: 'silu', doc: 'x · sigmoid(x)', huggingFace: ['silu', 'swish'] },
] as const satisfies readonly ActivationEntry[];

/** The non-linearity after a linear layer. */
export type ActivationKind = (typeof activations)[number]['kind'];

/** All kinds. */
export const activationKinds: readonly [ActivationKind, ...ActivationKind[]] = [
  activations[0].kind,
  ...activations.slice(1).map(({ kind }) => kind),
];

const namesOf = new Map<string, string>(activations.map(({ kind, huggingFace }) => [kind, huggingFace[0]]));
const kindOf = new Map<string, ActivationKind>(
  activations.flatMap(({ kind, huggingFace }) => huggingFace.map((name) => [name, kind] as const)),
);

/** Every name that Hugging Face has for one of these. */
export const huggingFaceActivations: readonly string[] = [...kindOf.keys()];

/** Hugging Face's name of an activation. InvariantError for a kind that is not in the list. */
export function huggingFaceActivation(kind: ActivationKind): string {
  const name = namesOf.get(kind);
  invariant(name !== undefined, `Hugging Face has no name for the activation ${kind}`);
  return name;
}

/** The activation that Hugging Face calls so; undefined for one that is not in the list. */
export function activationOfHuggingFace(name: string): ActivationKind | undefined {
  return kindOf.get(name);
}
