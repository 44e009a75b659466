/** Checks of tokens, targets and ranges of keys, for engines that know on the host what was uploaded to an int32 tensor. */
import { invariant } from '../base/errors.ts';
import { lastExtent } from '../base/shape.ts';
import type { Tensor } from './tensor.ts';

/** Each target is a class or -1. */
export function expectTargets(kernel: string, targets: Int32Array, classes: number): void {
  const wrong = targets.find((target) => target < -1 || target >= classes);
  invariant(wrong === undefined, `${kernel}: target ${wrong} is outside of the ${classes} classes`);
}

/** Each token has a row in the table. */
export function expectTokens(kernel: string, tokens: Int32Array, table: Tensor): void {
  const vocabSize = table.size / lastExtent(table);
  const wrong = tokens.find((token) => token < 0 || token >= vocabSize);
  invariant(wrong === undefined, `${kernel}: token ${wrong} is outside of the vocabulary of ${vocabSize}`);
}

/** Each of `queries` queries of a sample sees some of `keys` keys: those from its start, 0 without starts, to before its end. */
export function expectRanges(
  kernel: string,
  { starts, ends }: { readonly starts: Int32Array | undefined; readonly ends: Int32Array },
  { queries, keys }: { readonly queries: number; readonly keys: number },
): void {
  for (const [i, end] of ends.entries()) {
    const start = starts?.[i] ?? 0;
    invariant(
      start >= 0 && start < end && end <= keys,
      `${kernel}: expected a range of some of ${keys} keys at query ${i % queries}, received ${start} to ${end}`,
    );
  }
}
