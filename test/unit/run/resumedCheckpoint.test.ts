import { expect, it } from 'vitest';
import { changedText } from '../../../src/run/resumedCheckpoint.ts';

it('names the setting that keeps line ends where the text had CRLF, which a run may have begun with', () => {
  expect(changedText('step-1', { kind: 'text', description: 'a.txt', normalised: 1200 })).toBe(
    'the text has changed since step-1 was written: it is now a.txt; set data.lineEndings=keep if the run started with CRLF in 1,200 line endings ' +
      'that are now LF, otherwise restore it, or start a new run',
  );
  expect(changedText('step-1', { kind: 'text', description: 'a.txt' })).toMatch(
    /a\.txt; restore it, or start a new run$/,
  );
});
