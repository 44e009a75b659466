/** The error of an engine, or a kind of its devices, that this machine does not have. */
import { UserError } from '../base/errors.ts';

export class EngineUnavailableError extends UserError {
  readonly reason: string;
  /** What to do to have it. */
  readonly cure: string;

  /** @param what is not available, as a sentence begins with it */
  constructor(what: string, reason: string, cure: string) {
    super(`${what} is not available: ${reason}. To get it: ${cure}`);
    this.reason = reason;
    this.cure = cure;
  }
}
