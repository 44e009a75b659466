import { describe, expect, it } from 'vitest';
import { PeerError, UserError } from '../../../src/base/errors.ts';
import { errorText } from '../../../src/cli/output.ts';

describe('the text of an error', () => {
  it('is its message, where it was thrown on purpose', () => {
    expect(errorText(new UserError('no such file'), false)).toBe('no such file');
    expect(errorText(new PeerError('gone', { cause: new Error('EPIPE') }), false)).toBe('gone');
  });

  it('is the stack of a bug, and what caused it', () => {
    const text = errorText(new TypeError('x is undefined', { cause: new Error('the first') }), false);
    expect(text).toMatch(/^TypeError: x is undefined\n {4}at [\s\S]*\ncaused by: Error: the first\n {4}at /);
    expect(errorText('thrown text', false)).toBe('thrown text');
  });

  it('is the stack of every error with --debug', () => {
    expect(errorText(new PeerError('gone', { cause: new Error('EPIPE') }), true)).toMatch(
      /^PeerError: gone\n {4}at [\s\S]*\ncaused by: Error: EPIPE\n {4}at /,
    );
  });

  it('ends where a cause is its own', () => {
    const error = new Error('a');
    error.cause = error;
    expect(errorText(error, true).match(/Error: a/g)).toHaveLength(1);
  });
});
