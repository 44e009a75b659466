/**
 * A WGSL program: what it binds, its parameters, its text. The declarations of bindings and parameters are written from the same
 * tables that type the call, so a kernel's text holds only functions.
 */
import { invariant } from '../../base/errors.ts';

/** The element type of a bound array, as in WGSL. */
export type Element = 'f32' | 'vec4f' | 'i32' | 'u32' | 'vec4u';
/** How a program uses a binding, and as what. */
export type Binding = `${'read' | 'read_write'} ${Element}`;
/** The scalar type of a parameter. */
export type Scalar = 'u32' | 'i32' | 'f32';

/** One WGSL program. Kernels keep theirs (`memoized`), because the device compiles each once. */
export interface Program<B extends string = string, P extends string = string> {
  /** For errors and timings. */
  readonly name: string;
  /** Storage arrays by name, in the order of their binding numbers. */
  readonly bindings: Readonly<Record<B, Binding>>;
  /** Numbers that differ between calls; the text reads `params.name`. */
  readonly params: Readonly<Record<P, Scalar>>;
  /** Module-scope WGSL with the entry point `main`. */
  readonly code: string;
  /** WGSL extensions, as after `enable`. */
  readonly enables?: readonly string[];
}

/** A program with the names of its tables in its type. */
export function program<B extends string, P extends string>(definition: Program<B, P>): Program<B, P> {
  return definition;
}

/** A function that makes what it returns once for each text of its arguments. */
function memoizedBy<A extends readonly unknown[], T>(idOf: (...args: A) => string, make: (...args: A) => T) {
  const made = new Map<string, T>();
  return (...args: A): T => {
    const id = idOf(...args);
    let known = made.get(id);
    if (known === undefined) {
      known = make(...args);
      made.set(id, known);
    }
    return known;
  };
}

/** A function that makes each of its programs once: `key` is all that the text depends on. */
export function memoized<K extends readonly (string | number | boolean)[], T>(
  make: (...key: K) => T,
): (...key: K) => T {
  return memoizedBy((...key) => key.join(), make);
}

/** The same where the key is an object of primitive values, always with its fields in one order. */
export function memoizedByFields<K extends object, T>(make: (key: K) => T): (key: K) => T {
  return memoizedBy((key) => Object.values(key).join(), make);
}

/** The most bytes that the parameters of one call take: a slot of the uniform buffer. */
export const PARAMS_BYTES = 256;

/** The complete WGSL text. */
export function wgslOf({ bindings, params, code, enables = [] }: Program): string {
  const arrays = Object.entries(bindings).map(([name, binding], i) => {
    const [access, element] = binding.split(' ');
    return `@group(0) @binding(${i}) var<storage, ${access}> ${name}: array<${element}>;`;
  });
  const fields = Object.entries(params).map(([name, type]) => `  ${name}: ${type},`);
  const uniform =
    fields.length > 0 ? ['struct Params {', ...fields, '}', '@group(1) @binding(0) var<uniform> params: Params;'] : [];
  return [...enables.map((name) => `enable ${name};`), ...arrays, ...uniform, code].join('\n');
}

/** Writes the parameters of a call into a slot, as WGSL lays out a struct of scalars: 4 bytes each, in order. */
export function writeParams({ params }: Program, values: Readonly<Record<string, number>>, slot: DataView): void {
  let at = 0;
  for (const [name, type] of Object.entries(params)) {
    const value = values[name];
    invariant(value !== undefined && at < PARAMS_BYTES, `the parameter ${name} has no value, or is one too many`);
    if (type === 'f32') slot.setFloat32(at, value, true);
    else slot.setInt32(at, value | 0, true);
    at += 4;
  }
}

/** Invocations of a workgroup of an element-wise program. */
export const FLAT_GROUP = 256;

/** The start of an element-wise `main`: element i of `count` elements, for any count (see `flatGroups`). */
export function flatMain(body: string, count = 'params.count'): string {
  return `
@compute @workgroup_size(${FLAT_GROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let i = (group.y * groups.x + group.x) * ${FLAT_GROUP}u + local;
  if (i >= ${count}) { return; }
${body}
}`;
}

/** The most workgroups in one dimension that every device allows. */
export const GROUPS_MAX = 65_535;

/** The workgroups that cover `count` invocations of `flatMain`. */
export function flatGroups(count: number): readonly [number, number] {
  return flatGrid(Math.ceil(count / FLAT_GROUP));
}

/** At least `groups` workgroups as a grid: WGSL numbers them `group.y * groups.x + group.x`. */
export function flatGrid(groups: number): readonly [number, number] {
  const rows = Math.ceil(groups / GROUPS_MAX);
  return [Math.ceil(groups / rows), rows];
}
