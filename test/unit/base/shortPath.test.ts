import { expect, it } from 'vitest';
import { shortPath } from '../../../src/base/shortPath.ts';

it.each([
  ['/home/me/work/runs/first', '/home/me/work', 'runs/first'],
  ['/home/me/work', '/home/me/work', '.'],
  ['/home/me/data', '/home/me/work', '../data'],
  ['/data', '/home/me/work', '/data'],
  ['/', '/home/me/work', '/'],
])('%s in %s is %s', (path, cwd, text) => {
  expect(shortPath(path, cwd)).toBe(text);
});
