/** Whether standard input is the same as before. It has no name and no date, so its content must tell. */
import { createHash } from 'node:crypto';
import { UserError } from '../../base/errors.ts';

export class InputHash {
  readonly #hash = createHash('sha256');
  #expected: string | undefined;

  /** @param expected hash of the skipped bytes, up to the position that a stopped process had reached */
  constructor(expected: string | undefined) {
    this.#expected = expected;
  }

  add(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  /** Hash of all bytes so far, in lower-case hex. */
  digest(): string {
    return this.#hash.copy().digest('hex');
  }

  /** Call it when the skipped bytes have been added. @throws UserError if the input differs from before */
  verify(): void {
    const expected = this.#expected;
    this.#expected = undefined;
    if (expected === undefined || expected === this.digest()) return;
    throw new UserError(
      'standard input is not what it was when the folder was begun: give the same again, or remove the folder and start again',
    );
  }
}
