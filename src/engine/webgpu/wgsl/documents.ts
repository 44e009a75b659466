/** Documents in the attention programs, in WGSL: a query sees no key before the start of its document. */
import type { Scalar } from '../program.ts';

/** Parameters of programs that may know documents. */
export const documentParams = { startsFrom: 'u32' } as const satisfies Readonly<Record<string, Scalar>>;

/** The bindings of a program, with those of documents if it knows them. */
export function documentBindings<B extends object>(bindings: B, hasDocuments: boolean): B {
  return hasDocuments ? { ...bindings, starts: 'read i32' } : bindings;
}

/** The start of a row's document, as an expression; for rows past the last, that of the last. */
export function startOf(row: string): string {
  return `u32(starts[params.startsFrom + sample * params.time + min(${row}, params.time - 1u)])`;
}

/** For tiles whose rows are queries: the first key that any of the workgroup's queries sees, and that of each of the invocation's. */
export const keyBegins = `
  let begin = ${startOf('i0')};
  ${[0, 1].map((h) => `let begins${h} = vec4u(${['x', 'y', 'z', 'w'].map((lane) => startOf(`rows${h}.${lane}`)).join(', ')});`).join('\n')}`;

/** Number of keys of a tile before the first one that any of the invocation's queries sees. */
export const firstBegin = 'begins0.x - min(begins0.x, j0)';
