/** A model is evaluated on the rows of its run, or on others, by what its task learns from them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import type { ConfigInput } from '../../../src/config/configTypes.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { evaluateRows } from '../../../src/run/evaluateRows.ts';
import type { LoadedModel } from '../../../src/run/loadModel.ts';
import type { RowsToEvaluateOptions } from '../../../src/run/rowsToEvaluate.ts';
import { loadChatModel } from './chatModel.ts';

let cwd: string;
let loaded: LoadedModel;
beforeAll(async () => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-rows-'));
  loaded = await loadChatModel(cwd);
});
afterAll(async () => {
  await loaded.engine.dispose();
  rmSync(cwd, { recursive: true });
});

function write(name: string, rows: readonly object[]): string {
  writeFileSync(join(cwd, name), rows.map((row) => JSON.stringify(row)).join('\n'));
  return name;
}

/** Evaluates the model as if its run had this config. */
async function evaluate(config: ConfigInput, options: Partial<RowsToEvaluateOptions> = {}) {
  const notices: string[] = [];
  const onNotice = (line: string) => void notices.push(line);
  const run = { ...loaded, runConfig: configSchema.parse(config) };
  const all = { paths: [], split: 'val', cwd, onNotice, onProgress: () => undefined, ...options } as const;
  return { evaluation: await evaluateRows(run, all), notices };
}

const texts = ['the cat sat', 'on the mat', 'as ever', 'the hat', 'a mat', 'the vat', 'a cat as ever', 'the rat'];

it.each([
  ['lm', texts.map((text) => ({ text }))],
  ['sft', texts.map((text, i) => ({ prompt: text, completion: texts[(i + 3) % 8]! }))],
] as const)('the loss of %s over a split of its rows is the mean over the targets of each row', async (kind, rows) => {
  const config = { data: { examples: write(`${kind}.jsonl`, rows), valFraction: 0.25 }, task: { kind } };
  const { evaluation, notices } = await evaluate(config, { split: 'all' });
  expect(notices).toEqual([expect.stringContaining('the rows have changed since the checkpoint was written')]);
  let [sum, targets] = [0, 0];
  for (const row of rows) {
    const { evaluation: one } = await evaluate(config, { paths: [write('one.jsonl', [row])] });
    if (!('perplexity' in one)) return expect.unreachable();
    expect(one).toMatchObject({ rows: 1, perplexity: Math.exp(one.loss) });
    [sum, targets] = [sum + one.loss * one.targets, targets + one.targets];
  }
  if (!('perplexity' in evaluation)) return expect.unreachable();
  expect(evaluation).toMatchObject({ rows: 8, targets });
  expect(evaluation.loss).toBeCloseTo(sum / targets, 5);
  expect((await evaluate(config)).evaluation.rows).toBe(2);
  expect((await evaluate(config, { split: 'train' })).evaluation.rows).toBe(6);
});

it('pairs of dpo are compared by the probabilities of their answers', async () => {
  const rows = texts.map((text, i) => ({ prompt: 'a', chosen: text, rejected: texts[(i + 3) % 8]! }));
  const swapped = rows.map(({ prompt, chosen, rejected }) => ({ prompt, chosen: rejected, rejected: chosen }));
  const config = { data: { examples: write('pairs.jsonl', rows) }, task: { kind: 'dpo' } } as const;
  const { evaluation: one } = await evaluate(config, { paths: ['pairs.jsonl'] });
  const { evaluation: other } = await evaluate(config, { paths: [write('swapped.jsonl', swapped)] });
  if (!('chosenLogprob' in one && 'chosenLogprob' in other)) return expect.unreachable();
  expect(one.accuracy + other.accuracy).toBe(1);
  expect(one.chosenLogprob).toBeCloseTo(other.rejectedLogprob, 6);
  expect(one.chosenLogprob).toBeLessThan(0);
});

it('rows that are too long are shortened or left out with their number, whatever the run did', async () => {
  const long = 'the cat sat on the mat '.repeat(3);
  const rows = [
    { prompt: 'a', completion: 'cat' },
    { prompt: long, completion: 'cat' },
    { prompt: 'a', completion: long },
  ];
  const config = { data: { examples: 'sft.jsonl' }, task: { kind: 'sft' } } as const;
  const { evaluation, notices } = await evaluate(config, { paths: [write('long.jsonl', rows)] });
  expect(evaluation.rows).toBe(2);
  expect(notices).toEqual([
    'shortened 1 of 3 rows to model.blockSize: 32',
    expect.stringMatching(/^left out 1 of 3 rows with more than model\.blockSize: 32 tokens, .*\(long\.jsonl:3\)$/),
  ]);
  const none = evaluate(config, { paths: [write('none.jsonl', rows.slice(2))] });
  await expect(none).rejects.toThrow(UserError);
  await expect(none).rejects.toThrow(
    '--data: all rows are too long: the model reads at most 32 tokens. Give shorter rows',
  );
});

it('pairs of equal answers are left out with their number', async () => {
  const rows = texts.map((text, i) => ({ prompt: 'a', chosen: text, rejected: i < 2 ? text : 'the cat' }));
  const config = { data: { examples: 'pairs.jsonl' }, task: { kind: 'dpo' } } as const;
  const { evaluation, notices } = await evaluate(config, { paths: [write('equal.jsonl', rows)] });
  expect(evaluation.rows).toBe(6);
  expect(notices).toEqual([
    'left out 2 of 8 rows whose chosen and rejected answers are equal, so that they prefer neither (equal.jsonl:1, equal.jsonl:2)',
  ]);
  const none = evaluate(config, { paths: [write('noneLeft.jsonl', rows.slice(0, 2))] });
  await expect(none).rejects.toThrow('--data: all rows are too long, or pairs of equal answers');
});

it('columns of a table are those of the run or of --columns, and messages name the option', async () => {
  const config: ConfigInput = { data: { examples: 'x.csv', columns: ['text', 'id'] }, task: { kind: 'lm' } };
  writeFileSync(join(cwd, 'headless.csv'), 'the cat,1\nthe mat,2\n');
  writeFileSync(join(cwd, 'header.csv'), 'id,text\n1,the cat\n2,the mat\n');
  const [one, other] = await Promise.all(
    ['headless.csv', 'header.csv'].map((path) => evaluate(config, { paths: [path] })),
  );
  expect(one!.evaluation).toEqual(other!.evaluation);
  const plain = { ...config, data: { examples: 'x.csv' } };
  const chosen = await evaluate(plain, { paths: ['headless.csv'], columns: ['text', 'id'] });
  expect(chosen.evaluation).toEqual(one!.evaluation);
  writeFileSync(join(cwd, 'twice.csv'), 'cat,cat\nthe mat,2\n');
  await expect(evaluate(plain, { paths: ['twice.csv'] })).rejects.toThrow('name the columns with --columns');
});

it('a model of text is not evaluated on rows', async () => {
  await expect(evaluate({}, { paths: ['lm.jsonl'] })).rejects.toThrow('evaluate it on text');
});
