import { expect, test } from 'vitest';
import { builtinRows } from '../../../../src/data/examples/builtinRows.ts';
import { readRows } from '../../../../src/data/examples/readRows.ts';

const read = (kind: Parameters<typeof builtinRows>[0]) =>
  readRows({
    paths: ['builtin'],
    setting: 'data.examples',
    cwd: '/',
    columns: [],
    builtinPath: builtinRows(kind),
    onNotice: () => undefined,
  });

test.each([
  ['sft', 1984, ['instruction', 'input', 'output']],
  ['classify', 1_200, ['text', 'label']],
  ['seq2seq', 2_000, ['source', 'target']],
  ['dpo', 1984, ['instruction', 'input', 'chosen', 'rejected']],
  ['reward', 1984, ['instruction', 'input', 'chosen', 'rejected']],
  ['grpo', 1984, ['instruction', 'input', 'output']],
  ['ppo', 1984, ['instruction', 'input', 'output']],
] as const)('the package has rows for %s', async (kind, count, keys) => {
  const rows = await read(kind);
  expect(rows).toHaveLength(count);
  expect(Object.keys(rows[0]!.row)).toEqual(keys);
});

test('for language models builtin is the text, which has no rows', async () => {
  await expect(read('lm')).rejects.toThrow(/builtin is text, not rows/);
});
