import { expect, it } from 'vitest';
import { shortPath } from '../../../src/base/shortPath.ts';

it.each([
  ['/home/me/texts/runs/first', '/home/me/texts', 'runs/first'],
  ['/home/me/texts', '/home/me/texts', '.'],
  ['/home/me/data', '/home/me/texts', '../data'],
  ['/data', '/home/me/texts', '/data'],
  ['/', '/home/me/texts', '/'],
])('%s in %s is %s', (path, cwd, text) => {
  expect(shortPath(path, cwd)).toBe(text);
});
