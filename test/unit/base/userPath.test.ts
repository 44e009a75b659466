import { homedir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { expandHome, userPath } from '../../../src/base/userPath.ts';

it.each([
  ['~', homedir()],
  ['~/x', join(homedir(), 'x')],
  ['~/', join(homedir(), '/')],
  ['a~/x', 'a~/x'],
  ['./~', './~'],
  ['~$doc', '~$doc'],
  ['', ''],
])('%j is %j', (path, expanded) => {
  expect(expandHome(path)).toBe(expanded);
});

it('starts relative paths at the working folder, and refuses the home of another user', () => {
  expect(userPath('/a/b', '../c')).toBe('/a/c');
  expect(userPath('/a/b', '~/c')).toBe(join(homedir(), 'c'));
  for (const path of ['~root', '~root/x']) expect(() => userPath('/a', path)).toThrow(UserError);
});
