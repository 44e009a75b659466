import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { shellWord } from '../../../src/base/shellWord.ts';

it.each(['runs/quickstart', 'a b', "it's", '$HOME', '~', '*.txt', 'a;b', '', 'a\\b', '"', 'data.shards=/tmp/a b'])(
  'a shell reads %j as it is',
  (word) => {
    expect(execFileSync('sh', ['-c', `printf %s ${shellWord(word)}`], { encoding: 'utf8' })).toBe(word);
  },
);

it('leaves alone what needs no quotes', () => {
  expect(shellWord('data.shards=out/web')).toBe('data.shards=out/web');
});
