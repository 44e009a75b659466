/** The samples of each task: what is a target, and what remains of an example that is too long. */
import { describe, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { labelsMax } from '../../../src/base/labelLimits.ts';
import type { ChatTokenizer } from '../../../src/task/chatFormat.ts';
import { classifyTask, labelsOf } from '../../../src/task/classify.ts';
import { pairWeight } from '../../../src/task/pairBatch.ts';
import { pairsTask } from '../../../src/task/pairs.ts';
import type { Row } from '../../../src/task/rows.ts';
import { seq2seqTask } from '../../../src/task/seq2seq.ts';
import { sftTask } from '../../../src/task/sft.ts';
import { collate, paddedLengths, type Sample, type Task } from '../../../src/task/task.ts';
import { builtInTemplate, parseTemplate } from '../../../src/task/template.ts';
import { textTask } from '../../../src/task/textRows.ts';
import { refusalOf } from './refusal.ts';

const letters = 'abcdefghijklmnopqrstuvwxyz';
const end = letters.length;
/** Letters, and an end. */
const tokenizer: ChatTokenizer = {
  kind: 'letters',
  endOfText: end,
  specialTokens: new Map([['<|endoftext|>', end]]),
  encode: (text) =>
    Array.from(text, (letter) => {
      if (!letters.includes(letter)) refuse(letter);
      return letters.indexOf(letter);
    }),
};
function refuse(letter: string): never {
  throw new UserError(`no token for ${letter}`);
}
const template = builtInTemplate('plain');

const written = (tokens: ArrayLike<number>): string =>
  Array.from(tokens, (token) => (token < 0 ? '.' : token === end ? '$' : letters[token])).join('');
const shown = (sample: Sample | undefined): Record<string, string> | undefined =>
  sample && Object.fromEntries(Object.entries(sample).map(([name, tokens]) => [name, written(tokens)]));

function samplesOf<E>(task: Task<Row, E>, row: Row) {
  const example = task.parse(row, 'rows.jsonl:3');
  return {
    whole: shown(task.encode(example)),
    cut: (tokens: number) => shown(task.shorten?.(example, tokens)),
    batch: collate(task.fields, [task.encode(example)], 16),
  };
}
const turns = (...contents: string[]): Row => ({
  messages: contents.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content })),
});

describe('supervised fine-tuning', () => {
  const task = sftTask({ tokenizer, template });

  it('targets are the answer and its end, each at the token before it', () => {
    const { whole, batch } = samplesOf(task, turns('abc', 'xy'));
    expect(whole).toEqual({ tokens: 'abcxy', targets: '..xy$' });
    expect(task.weight(batch)).toBe(3);
    expect(written(batch.arrays['targets']!.data)).toBe('..xy$...........');
  });

  it('every answer is a target', () => {
    expect(samplesOf(task, turns('ab', 'x', 'c', 'yz')).whole).toEqual({ tokens: 'abx$cyz', targets: '.x$.yz$' });
  });

  it('the prompt is shortened from its start, the answer never', () => {
    const { cut } = samplesOf(task, turns('abc', 'xy'));
    expect(cut(5)).toEqual({ tokens: 'abcxy', targets: '..xy$' });
    expect(cut(4)).toEqual({ tokens: 'bcxy', targets: '.xy$' });
    expect(cut(3)).toEqual({ tokens: 'cxy', targets: 'xy$' });
    expect(cut(2)).toBeUndefined();
  });

  it('an earlier answer that does not fit is lost completely', () => {
    const { cut } = samplesOf(task, turns('ab', 'xyz', 'cd', 'uv'));
    expect(cut(9)).toEqual({ tokens: 'bxyz$cduv', targets: 'xyz$..uv$' });
    for (const tokens of [8, 5, 4]) expect(cut(tokens)).toEqual({ tokens: 'cduv', targets: '.uv$' });
    expect(cut(3)).toEqual({ tokens: 'duv', targets: 'uv$' });
    expect(cut(2)).toBeUndefined();
  });

  it('what the template or the tokenizer refuses is refused with its place', () => {
    const answerOnly = parseTemplate('{{ messages[1].content if messages | length > 1 }}', 'mine');
    const parse = () => sftTask({ tokenizer, template: answerOnly }).parse(turns('ab', 'x'), 'rows.jsonl:3');
    expect(refusalOf(parse)).toMatch(/^rows\.jsonl:3: the chat template renders nothing before the answer/);
    expect(refusalOf(() => samplesOf(task, turns('aB', 'x')))).toBe('rows.jsonl:3: no token for B');
  });
});

it('language modelling learns a text and its end', () => {
  const task = textTask({ tokenizer });
  expect(samplesOf(task, { text: 'abc' }).whole).toEqual({ tokens: 'abc', targets: 'bc$' });
  expect(refusalOf(() => task.parse({ text: '' }, 'a:1'))).toBe('a:1: expected a text in text, but it is empty.');
  expect(refusalOf(() => task.parse({ txet: 'abc' }, 'a:1'))).toMatch(/unknown key "txet".*Did you mean text\?/);
  const endless = textTask({ tokenizer: { ...tokenizer, endOfText: undefined } });
  expect(samplesOf(endless, { text: 'abc' }).whole).toEqual({ tokens: 'ab', targets: 'bc' });
  expect(refusalOf(() => samplesOf(endless, { text: 'a' }))).toMatch(/^rows\.jsonl:3: expected at least 2 tokens/);
});

describe('classification', () => {
  const task = classifyTask({ tokenizer, labels: ['ham', 'spam'] });

  it('the label is the target of the last token', () => {
    const { cut, batch } = samplesOf(task, { text: 'abc', label: 'spam' });
    expect([...batch.arrays['targets']!.data].slice(0, 4)).toEqual([-1, -1, 1, -1]);
    expect(task.weight(batch)).toBe(1);
    expect(cut(2)).toEqual({ tokens: 'ab', targets: '.b' });
  });

  it('labels are sorted, numbers by value', () => {
    const rows = (...labels: unknown[]) => labels.map((label, i) => ({ row: { label }, at: `a.csv:${i + 2}` }));
    expect(labelsOf(rows('spam', 'ham', 'Ham', 'spam'))).toEqual(['Ham', 'ham', 'spam']);
    expect(labelsOf(rows('10', 9, -1))).toEqual(['-1', '9', '10']);
    expect(labelsOf(rows(true, false))).toEqual(['false', 'true']);
    expect(refusalOf(() => labelsOf(rows('ham', 'ham')))).toBe(
      'a.csv:2: expected rows of at least two classes, but all rows have the label "ham".',
    );
    expect(labelsOf(rows(...Array(labelsMax).keys()))).toHaveLength(labelsMax);
    expect(refusalOf(() => labelsOf(rows(...Array(labelsMax + 1).keys())))).toMatch(
      /^a\.csv:10002: .* there are 10,000 classes already, the maximum\. Does label contain classes/,
    );
    expect(refusalOf(() => labelsOf(rows('ham', 'x'.repeat(1001))))).toMatch(
      /^a\.csv:3: the label has 1,001 characters, expected at most 1,000\./,
    );
    expect(refusalOf(() => labelsOf([]))).toMatch(/^data\.examples: .* the data has no rows\./);
    expect(refusalOf(() => labelsOf(rows('ham', ' ')))).toMatch(
      /^a\.csv:3: expected a text, a whole number or a boolean/,
    );
  });

  it.each([
    [
      { text: 'a', label: 'sapm' },
      /the label "sapm" is not one of the classes, which are "ham", "spam"\. .* Did you mean spam\?/,
    ],
    [{ text: 'a', label: 1.5 }, /in label, received 1\.5\./],
    [{ text: 'a' }, /in label, but the row has only "text"\./],
    [{ label: 'ham' }, /expected a text in text, but the row has only "label"\./],
    [{ text: ' ', label: 'ham' }, /expected a text in text, but it is empty\./],
    [{ text: 'a', label: 'ham', lable: 'spam' }, /unknown key "lable"/],
  ])('refuses %j', (row, message) => {
    const text = refusalOf(() => task.parse(row, 'rows.jsonl:3'));
    expect(text).toMatch(message);
    expect(text).toMatch(/^rows\.jsonl:3: /);
  });
});

describe('pairs', () => {
  const dpo = pairsTask({ tokenizer, template, objective: 'dpo' });
  const reward = pairsTask({ tokenizer, template, objective: 'reward' });
  const answer = (content: string) => [{ role: 'assistant', content }];
  const expected = { chosen: 'abxy', chosenTargets: '.xy$', rejected: 'abz', rejectedTargets: '.z$' };

  it.each([
    { prompt: 'ab', chosen: 'xy', rejected: 'z' },
    { prompt: [{ role: 'user', content: 'ab' }], chosen: answer('xy'), rejected: 'z' },
    { prompt: 'ab', ...{ chosen: turns('ab', 'xy')['messages'], rejected: turns('ab', 'z')['messages'] } },
    { chosen: turns('ab', 'xy')['messages'], rejected: turns('ab', 'z')['messages'] },
    { instruction: 'ab', input: '', output: 'xy', chosen: 'xy', rejected: 'z' },
  ])('%j', (row) => {
    const { whole, batch } = samplesOf(dpo, row);
    expect(whole).toEqual(expected);
    expect(dpo.weight(batch)).toBe(1);
    expect(Object.keys(batch.arrays)).toEqual(Object.keys(expected));
  });

  it('only the last answer counts', () => {
    const [chosen, rejected] = [turns('a', 'b', 'c', 'xy'), turns('a', 'b', 'c', 'z')].map((row) => row['messages']);
    expect(samplesOf(dpo, { chosen, rejected }).whole).toEqual({
      chosen: 'ab$cxy',
      chosenTargets: '...xy$',
      rejected: 'ab$cz',
      rejectedTargets: '...z$',
    });
  });

  it('a reward is read at the last token, the end of the answer', () => {
    const { whole } = samplesOf(reward, { prompt: 'ab', chosen: 'xy', rejected: 'z' });
    // The target 0 is written as a.
    expect(whole).toEqual({ chosen: 'abxy$', chosenTargets: '....a', rejected: 'abz$', rejectedTargets: '...a' });
  });

  it('both lose the same part of their prompt', () => {
    const row = { prompt: 'abc', chosen: 'xy', rejected: 'z' };
    const cut = { chosen: 'cxy', chosenTargets: 'xy$', rejected: 'cz', rejectedTargets: 'z$' };
    expect(samplesOf(dpo, row).cut(3)).toEqual(cut);
    expect(samplesOf(dpo, row).cut(2)).toBeUndefined();
    expect(samplesOf(reward, row).cut(4)).toMatchObject({ chosen: 'cxy$', rejected: 'cz$' });
    expect(samplesOf(reward, row).cut(3)).toBeUndefined();
  });

  it.each([dpo, reward])('answers are equal if all their tokens are', (task) => {
    const isEqual = (chosen: string, rejected: string) =>
      task.hasEqualAnswers!(task.encode(task.parse({ prompt: 'ab', chosen, rejected }, 'a:1')));
    expect([isEqual('xy', 'xy'), isEqual('xy', 'xz'), isEqual('x', 'xy'), isEqual('xy', 'x')]).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });

  it('padding does not count as a pair', () => {
    const sample = dpo.encode(dpo.parse({ prompt: 'ab', chosen: 'xy', rejected: 'z' }, 'a:1'));
    const nothing = { chosen: [], chosenTargets: [], rejected: [], rejectedTargets: [] };
    expect(pairWeight(collate(dpo.fields, [sample, nothing, sample], 8))).toBe(2);
    expect(pairWeight(collate(dpo.fields, [], 8))).toBe(0);
  });

  it.each([
    [{ prompt: 'ab', chosen: 'x', rejected: '' }, /expected a text in rejected, but it is empty\./],
    [{ prompt: 'ab', chosen: 'x' }, /expected a text in rejected, but the row has only "prompt", "chosen"\./],
    [
      { prompt: 'ab', chosen: 'x', rejected: [] },
      /rejected: expected the last message to be of the assistant, received user\./,
    ],
    [
      { chosen: turns('ab', 'x')['messages'], rejected: turns('ac', 'y')['messages'] },
      /the prompts of chosen and rejected differ/,
    ],
    [
      { prompt: 'ab', chosen: turns('ac', 'x')['messages'], rejected: 'y' },
      /chosen starts with other messages than prompt/,
    ],
    [{ chosen: 'x', rejected: 'y' }, /chosen: message 1: expected a message of the user first, received assistant\./],
    [{ prompt: '', chosen: 'x', rejected: 'y' }, /expected a text in prompt, but it is empty\./],
    [{ prompt: 'a', chosen: 'x', rejectd: 'y' }, /unknown key "rejectd".*Did you mean rejected\?/],
    [
      { prompt: 'a', completion: 'x' },
      /expected \{prompt, chosen, rejected\} or .*, received a row with "prompt", "completion"\./,
    ],
  ])('refuses %j', (row, message) => {
    const text = refusalOf(() => dpo.parse(row, 'rows.jsonl:3'));
    expect(text).toMatch(message);
    expect(text).toMatch(/^rows\.jsonl:3: /);
  });
});

describe('sequence to sequence', () => {
  const task = seq2seqTask({ tokenizer });

  it('the decoder reads a begin token and the target, and predicts the target and its end; the source has an end', () => {
    const { whole, batch } = samplesOf(task, { source: 'abc', target: 'xy' });
    expect(whole).toEqual({ tokens: '$xy', targets: 'xy$', source: 'abc$', sourceLength: 'e' });
    expect(batch.arrays['sourceLength']).toEqual({ shape: [1], data: Int32Array.of(4) });
    expect(task.weight(batch)).toBe(3);
  });

  it('the source keeps its beginning, the target all of it', () => {
    const { cut } = samplesOf(task, { source: 'abcde', target: 'xy' });
    expect(cut(5)).toEqual({ tokens: '$xy', targets: 'xy$', source: 'abcd$', sourceLength: 'f' });
    expect(cut(3)).toEqual({ tokens: '$xy', targets: 'xy$', source: 'ab$', sourceLength: 'd' });
    expect(cut(2)).toBeUndefined();
  });

  it('sources and targets are padded to lengths of their own', () => {
    const rows = [
      { source: 'a'.repeat(40), target: 'xy' },
      { source: 'ab', target: 'xyz' },
    ];
    const samples = rows.map((row) => task.encode(task.parse(row, 'rows.jsonl:3')));
    const nothing = Object.fromEntries(Object.keys(task.fields).map((name) => [name, []]));
    const { arrays } = collate(task.fields, [...samples, nothing], paddedLengths(task.fields, samples, 100));
    const shapes = Object.fromEntries(Object.entries(arrays).map(([name, { shape }]) => [name, shape]));
    expect(shapes).toEqual({ tokens: [32], targets: [32], source: [64], sourceLength: [1] });
    // Padding has a source of one token: attention needs a key.
    expect(Array.from(arrays['sourceLength']!.data)).toEqual([41, 3, 1]);
    expect(paddedLengths(task.fields, samples, 50)).toEqual({ T: 32, S: 50 });
  });

  it.each([
    [{ source: 'a' }, 'rows.jsonl:3: expected a text in target, but the row has only "source".'],
    [{ source: ' ', target: 'b' }, 'rows.jsonl:3: expected a text in source, but it is empty.'],
    [{ source: 'a', target: 'b', lang: 'es' }, 'rows.jsonl:3: unknown key "lang": expected source, target.'],
    [{ source: 'a', target: ['b'] }, 'rows.jsonl:3: expected a text in target, received ["b"].'],
  ])('refuses %j', (row, message) => {
    expect(refusalOf(() => task.parse(row, 'rows.jsonl:3'))).toContain(message);
  });

  it('names the row and the side of a character outside the vocabulary', () => {
    const example = task.parse({ source: 'a', target: 'ñ' }, 'rows.jsonl:3');
    expect(refusalOf(() => task.encode(example))).toBe('rows.jsonl:3: target: no token for ñ');
  });

  it('refuses a tokenizer without an end', () => {
    const without = { ...tokenizer, endOfText: undefined };
    expect(refusalOf(() => seq2seqTask({ tokenizer: without }))).toMatch(/letters has no end-of-document token/);
  });
});
