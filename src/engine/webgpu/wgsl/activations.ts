/** The activations in WGSL, for kernels that end or begin with one. */
import type { ActivationKind } from '../../../base/activations.ts';
import { InvariantError } from '../../../base/errors.ts';

interface Activation {
  /** The expression of act(x). */
  readonly value: string;
  /** The expression of its derivative at x. */
  readonly slope: string;
  /** Functions of the two expressions. */
  readonly functions: string;
}

const table: Readonly<Record<ActivationKind, Activation>> = {
  // x · sigmoid(2u) with u = √(2/π) (x + 0.044715 x³), which equals the tanh form. Beyond ±10 the sigmoid is 0 or 1 in float32.
  gelu: {
    value: 'gelu(x)',
    slope: 'geluSlope(x)',
    functions: `
fn geluSigmoid(x: f32) -> f32 {
  return 1.0 / (1.0 + exp(-1.5957691216057308 * (x + 0.044715 * x * x * x)));
}
fn gelu(x: f32) -> f32 {
  return select(x * geluSigmoid(clamp(x, -10.0, 10.0)), 0.0, x < -10.0);
}
fn geluSlope(x: f32) -> f32 {
  let y = clamp(x, -10.0, 10.0);
  let s = geluSigmoid(y);
  return s + y * s * (1.0 - s) * 1.5957691216057308 * (1.0 + 0.134145 * y * y);
}`,
  },
  relu: { value: 'max(x, 0.0)', slope: 'select(0.0, 1.0, x > 0.0)', functions: '' },
  // Beyond ±87 the sigmoid is 0 or 1, and exp near its overflow.
  silu: {
    value: 'silu(x)',
    slope: 'siluSlope(x)',
    functions: `
fn sigmoid(x: f32) -> f32 {
  return 1.0 / (1.0 + exp(-clamp(x, -87.0, 87.0)));
}
fn silu(x: f32) -> f32 {
  return select(x * sigmoid(x), 0.0, x < -87.0);
}
fn siluSlope(x: f32) -> f32 {
  let y = clamp(x, -87.0, 87.0);
  let s = sigmoid(y);
  return s + y * s * (1.0 - s);
}`,
  },
};

/** WGSL functions `activate(x: f32) -> f32` and `activationSlope(x: f32) -> f32`. @throws InvariantError for an unknown kind */
export function activationFunctions(kind: ActivationKind): string {
  const activation = Object.hasOwn(table, kind) ? table[kind] : undefined;
  if (activation === undefined) throw new InvariantError(`there is no activation ${kind}`);
  const { value, slope, functions } = activation;
  return `${functions}
fn activate(x: f32) -> f32 {
  return ${value};
}
fn activationSlope(x: f32) -> f32 {
  return ${slope};
}`;
}
