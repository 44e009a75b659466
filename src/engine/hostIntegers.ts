/** Checks of tokens and targets, for engines that know on the host what was uploaded to an int32 tensor. */
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
