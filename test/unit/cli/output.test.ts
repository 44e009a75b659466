import { readFileSync, renameSync } from 'node:fs';
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

  it('is a sentence for what the system refused, wherever it comes from', () => {
    const refused = (run: () => unknown): unknown => {
      try {
        return run();
      } catch (error) {
        return error;
      }
    };
    const missing = refused(() => readFileSync('/nowhere/a.txt'));
    expect(errorText(missing, false)).toBe('cannot open /nowhere/a.txt: there is no such file or folder (ENOENT)');
    expect(errorText(missing, true)).toContain('\n    at ');
    const unlike = refused(() => renameSync('/nowhere/a', '/nowhere/b'));
    expect(errorText(unlike, false)).toMatch(/^cannot rename \/nowhere\/a to \/nowhere\/b: there is no such/);
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
