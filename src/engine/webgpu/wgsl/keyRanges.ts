/**
 * The keys that a query sees, in WGSL: without `starts` from key 0 on, without `ends` up to that of its own position, of the program's
 * queries, which then are as many as keys.
 */
import type { Scalar } from '../program.ts';

/** Which ends of ranges a program gets. */
export interface RangeTraits {
  readonly hasStarts: boolean;
  readonly hasEnds: boolean;
}

/** Parameters of programs that may know ranges. */
export const rangeParams = { startsFrom: 'u32', endsFrom: 'u32' } as const satisfies Readonly<Record<string, Scalar>>;

/** The bindings of a program, with those of the ranges that it knows. */
export function rangeBindings<B extends object>(bindings: B, { hasStarts, hasEnds }: RangeTraits): B {
  return { ...bindings, ...(hasStarts && { starts: 'read i32' }), ...(hasEnds && { ends: 'read i32' }) };
}

/** What tells programs of the same kernel apart in timings. */
export function rangeName({ hasStarts, hasEnds }: RangeTraits): string {
  if (hasEnds) return ' of key ranges';
  return hasStarts ? ' of documents' : '';
}

const at = (name: 'starts' | 'ends') => (row: string) =>
  `u32(${name}[params.${name}From + sample * params.time + min(${row}, params.time - 1u)])`;
/** The first key of a query, as an expression; for rows past the last, that of the last. */
export const startOf = at('starts');
/** One past its last key. */
export const endOf = at('ends');

/** Whether a query may see no key of a tile that another query of its workgroup sees, so that its greatest score may be that of none. */
export const mayBeBlind = ({ hasStarts, hasEnds }: RangeTraits): boolean => hasStarts || hasEnds;

/**
 * For workgroups that have queries: declares `begin` and `keysMost`, the first key that any of queries [i0, i0 + rows) sees and the end of
 * those that they see. `causalEnd` is that end where ranges have none of their own.
 */
export function groupRange({ hasStarts, hasEnds }: RangeTraits, rows: number, causalEnd: string): string {
  if (!hasEnds) return `let begin = ${hasStarts ? startOf('i0') : '0u'}; let keysMost = ${causalEnd};`;
  return `
  var begin = ${hasStarts ? 'params.keyTime' : '0u'};
  var keysMost = 0u;
  for (var row = i0; row < min(i0 + ${rows}u, params.time); row++) {
    ${hasStarts ? `begin = min(begin, ${startOf('row')});` : ''}
    keysMost = max(keysMost, ${endOf('row')});
  }`;
}
