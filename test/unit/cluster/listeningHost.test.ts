import { expect, it } from 'vitest';
import { listeningHostOf } from '../../../src/cluster/listeningHost.ts';

it.each([
  ['127.0.0.1', '127.0.0.1'],
  ['localhost', 'localhost'],
  // Documentation addresses belong to no machine: another one translates them to this.
  ['192.0.2.7', '*'],
  ['no-such-host.invalid', '*'],
  [undefined, '*'],
])('listens for %s on %s', async (host, expected) => {
  expect(await listeningHostOf(host)).toBe(expected);
});
