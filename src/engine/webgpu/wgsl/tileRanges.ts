/** The keys that queries see, for the programs of attentionTiles.ts whose invocations have eight rows of queries, rows0 and rows1. */
import { COLUMNS } from './attentionTiles.ts';
import { endOf, type RangeTraits, startOf } from './keyRanges.ts';

const forRows = (name: string, of: (row: string) => string) =>
  [0, 1]
    .map((h) => `let ${name}${h} = vec4u(${['x', 'y', 'z', 'w'].map((lane) => of(`rows${h}.${lane}`)).join(', ')});`)
    .join('\n');

/** Declares the first key of each of the invocation's queries, `begins`, and one past its last, `ends`, where they have them. */
export function rowRanges({ hasStarts, hasEnds }: RangeTraits): string {
  return `${hasStarts ? forRows('begins', startOf) : ''}
  ${hasEnds ? forRows('lasts', endOf) : ''}`;
}

/** Which of four rows see a key, as an expression of vectors. */
export function seesKey({ hasStarts, hasEnds }: RangeTraits, h: number, key: string): string {
  const inTime = hasEnds ? `(lasts${h} > ${key})` : `(rows${h} >= ${key})`;
  return hasStarts ? `${inTime} & (begins${h} <= ${key})` : inTime;
}

/** The end of the keys that some of the invocation's queries see. */
export function lastKey({ hasEnds }: RangeTraits): string {
  return hasEnds ? 'keysMost' : 'rows0.x + 8u';
}

/** && whether some of the invocation's queries may see keys of the tile from j0 on: for documents, whose starts ascend. */
export function sawKey({ hasStarts, hasEnds }: RangeTraits): string {
  return hasStarts && !hasEnds ? ` && j0 + ${COLUMNS}u > begins0.x` : '';
}

/** Number of keys of that tile before the first one that any of the invocation's queries sees. */
export function skippedKeys({ hasStarts, hasEnds }: RangeTraits): string {
  return hasStarts && !hasEnds ? 'begins0.x - min(begins0.x, j0)' : '0u';
}
