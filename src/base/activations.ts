/**
 * All activations of models. The choices in the config, the kernels of every engine and the names in a checkpoint
 * follow from this list. Each engine has a table with an entry for each activation: `engine/tfjs/activations.ts` does not compile without it;
 * the native engine (`native/activations.h`) refuses a missing name when it runs, which the parity tests detect.
 */
import { invariant } from './errors.ts';

/** One activation. */
interface ActivationEntry {
  /** The name in the config. */
  readonly kind: string;
  /** A description for the documentation of the config. */
  readonly doc: string;
  /** Its names in Hugging Face's `config.json`; Lockstep writes the first. */
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

/** All Hugging Face names for these activations. */
export const huggingFaceActivations: readonly string[] = [...kindOf.keys()];

/** Hugging Face's name of an activation. InvariantError for a kind that is not in the list. */
export function huggingFaceActivation(kind: ActivationKind): string {
  const name = namesOf.get(kind);
  invariant(name !== undefined, `Hugging Face has no name for the activation ${kind}`);
  return name;
}

/** The activation with this Hugging Face name; undefined if it is not in the list. */
export function activationOfHuggingFace(name: string): ActivationKind | undefined {
  return kindOf.get(name);
}
