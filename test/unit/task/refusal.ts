import { expect } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';

/** The message with which something is refused. */
export function refusalOf(parse: () => unknown): string {
  try {
    parse();
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as UserError).message;
  }
  throw new Error('it was accepted');
}
