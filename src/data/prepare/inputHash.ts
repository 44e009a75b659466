/** Whether standard input is what it was before: it has no name and no date, so its content must tell. */
import { createHash } from 'node:crypto';
import { UserError } from '../../base/errors.ts';

export class InputHash {
  readonly #hash = createHash('sha256');
  #expected: string | undefined;

  /** @param expected of what is left out, where a process had come to that was stopped */
  constructor(expected: string | undefined) {
    this.#expected = expected;
  }

  add(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  /** Of all bytes so far, in lower-case hex. */
  digest(): string {
    return this.#hash.copy().digest('hex');
  }

  /** To be called when what is left out has been added. @throws UserError if it is not the input of before */
  verify(): void {
    const expected = this.#expected;
    this.#expected = undefined;
    if (expected === undefined || expected === this.digest()) return;
    throw new UserError(
      'standard input is not what it was when the folder was begun: give the same again, or remove the folder and start again',
    );
  }
}
