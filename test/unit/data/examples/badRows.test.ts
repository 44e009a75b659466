/** Rows that cannot be trained on end a run before anything is written, and the message says where they are. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { UserError } from '../../../../src/base/errors.ts';
import { prepareRun } from '../../../../src/run/prepareRun.ts';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'lockstep-bad-rows-'));
});
afterAll(() => rmSync(root, { recursive: true }));

const lines = (...rows: unknown[]) =>
  rows.map((row) => `${typeof row === 'string' ? row : JSON.stringify(row)}\n`).join('');
/** Nine rows that are right. */
const texts = Array.from({ length: 9 }, (_, i) => ({ text: `this is text ${i}` }));
const labelled = texts.map(({ text }, i) => ({ text, label: i % 2 === 0 ? 'ham' : 'spam' }));
const chats = texts.map(({ text }) => ({ prompt: text, completion: 'yes' }));
const pairs = texts.map(({ text }) => ({ prompt: text, chosen: 'good', rejected: 'bad' }));
const chat = (...roles: string[]) => ({ messages: roles.map((role, i) => ({ role, content: `text ${i}` })) });

/** A chat template that removes spaces around messages. */
const trimming =
  "{% for m in messages %}{{ m.role + ': ' + (m.content | trim) + (eos_token if m.role == 'assistant' else '\\n') }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";

type Case = readonly [what: string, name: string, content: string | Uint8Array, message: RegExp, ...set: string[]];
const sft = 'task.kind=sft';
const classify = 'task.kind=classify';
const dpo = 'task.kind=dpo';
const withEncoder = ['model.architecture=encoderDecoder', 'model.bias=all'] as const;
const seq2seq = ['task.kind=seq2seq', ...withEncoder] as const;

const cases: readonly Case[] = [
  [
    'a line that is not JSON',
    'a.jsonl',
    lines(...texts, '{"text": "no end'),
    /^a\.jsonl:10: expected a JSON object in each line, received/,
  ],
  ['a line that is not an object', 'b.jsonl', lines(...texts, '["text"]'), /^b\.jsonl:10: expected a JSON object/],
  [
    'bytes that are not UTF-8',
    'c.jsonl',
    Buffer.concat([Buffer.from(lines(...texts)), Buffer.from('{"text":"\xe9"}', 'latin1')]),
    /^c\.jsonl:10: expected text in UTF-8/,
  ],
  ['half a surrogate pair', 'd.jsonl', lines(...texts, '{"text":"\\ud800"}'), /^d\.jsonl:10: .*surrogate/],
  ['a zero character', 'e.jsonl', lines(...texts, { text: 'a\0b' }), /^e\.jsonl:10: .*zero character/],
  [
    'another key',
    'f.jsonl',
    lines(...texts, { txt: 'a' }),
    /^f\.jsonl:10: unknown key "txt": expected text\. Did you mean text\?/,
  ],
  [
    'a text that is a number',
    'g.jsonl',
    lines(...texts, { text: 7 }),
    /^g\.jsonl:10: expected a text in text, received 7/,
  ],
  ['an empty text', 'h.jsonl', lines(...texts, { text: ' ' }), /^h\.jsonl:10: .*empty/],
  [
    'an array that does not end',
    'i.json',
    `[\n${JSON.stringify(texts[0])},\n`,
    /^i\.json:3: expected an array of JSON objects, the file ends/,
  ],
  ['text after an array', 'j.json', `${JSON.stringify(texts)}\nmore`, /^j\.json:2: .*found text after its end/],
  [
    'an element of an array that is not an object',
    'k.json',
    '[{"text":"one two"},\n"two"]',
    /^k\.json:2: expected an array of JSON objects, received "two"/,
  ],
  [
    'a ragged row',
    'l.csv',
    'text,label\na,ham\nb, c,spam\n',
    /^l\.csv:3: expected 2 columns as in the first row \(text, label\), received 3/,
    classify,
  ],
  [
    'a quote that never closes',
    'm.csv',
    'text,label\n"a,ham\nb,spam\n',
    /^m\.csv:2: the quote that opens here is never closed/,
    classify,
  ],
  ['text after a quote', 'n.csv', 'text,label\n"a"b,ham\n', /^n\.csv:2: found text after the quote/, classify],
  ['a tab in a text of a table', 'o.tsv', 'label\ttext\nham\ta\tb\n', /^o\.tsv:2: .*cannot contain a tab/, classify],
  ['two columns of one name', 'p.csv', 'text,text\na,b\n', /^p\.csv:1: two columns have the name text/, classify],
  [
    'a table without a header',
    'q.csv',
    'hi there,ham\nwin,spam\nhow are you,ham\n'.repeat(5),
    /^q\.csv:\d+: expected .* label, .*"hi there", "ham"\. The first row of the table names its columns \(hi there, ham\): if it is an example/,
    classify,
  ],
  ['no label', 'r.jsonl', lines(...labelled, { text: 'a' }), /^r\.jsonl:10: expected .* label/, classify],
  [
    'one class only',
    's.jsonl',
    lines(...labelled.filter(({ label }) => label === 'ham')),
    /^s\.jsonl:\d: expected rows of at least two classes/,
    classify,
  ],
  ['an empty answer', 't.jsonl', lines(...chats, { prompt: 'a', completion: '' }), /^t\.jsonl:10: .*completion/, sft],
  ['an unknown role', 'u.jsonl', lines(...chats, chat('user', 'robot')), /^u\.jsonl:10: .*robot/, sft],
  [
    'a conversation that ends with a question',
    'v.jsonl',
    lines(...chats, chat('user', 'assistant', 'user')),
    /^v\.jsonl:10: /,
    sft,
  ],
  [
    'two messages of one role in a row',
    'w.jsonl',
    lines(...chats, chat('user', 'user', 'assistant')),
    /^w\.jsonl:10: /,
    sft,
  ],
  [
    'a system message that is not the first',
    'x.jsonl',
    lines(...chats, chat('user', 'system', 'assistant')),
    /^x\.jsonl:10: /,
    sft,
  ],
  [
    'equal answers, which are counted and listed',
    'y.jsonl',
    lines(...pairs, ...Array.from({ length: 6 }, (_, i) => ({ prompt: `${i}`, chosen: 'b', rejected: 'b' }))),
    /^data\.examples: found 6 of 15 rows whose chosen and rejected answers are equal, so that they prefer neither \(y\.jsonl:\d+, (?:y\.jsonl:\d+, ){4}…\)\. Set task\.equalPairs=drop to leave them out, or correct these rows/,
    dpo,
  ],
  [
    'answers that become equal, as the template removes spaces',
    'ya.jsonl',
    lines(...pairs, { prompt: 'a', chosen: 'b', rejected: ' b ' }),
    /^data\.examples: found 1 of 10 rows whose chosen and rejected answers are equal, so that they prefer neither \(ya\.jsonl:10\)/,
    dpo,
    'task.template=chat.jinja',
  ],
  [
    'only pairs of equal answers',
    'yb.jsonl',
    lines(...pairs.map(({ prompt }) => ({ prompt, chosen: 'b', rejected: 'b' }))),
    /^data\.examples: all training rows were left out, as too long \(task\.tooLong: drop\) or as pairs of equal answers \(task\.equalPairs: drop\)/,
    'task.kind=reward',
    'task.equalPairs=drop',
  ],
  [
    'a row that is too long',
    'z.jsonl',
    lines(...texts, { text: 'x'.repeat(500) }),
    /^data\.examples: found 1 of 10 rows with more than model\.blockSize: 256 tokens, the longest with 500 \(z\.jsonl:10\)\. Set /,
  ],
  [
    'a row that is wrong in a compressed file',
    'aa.jsonl.gz',
    gzipSync(lines(...texts, '{')),
    /^aa\.jsonl\.gz:10: expected a JSON object/,
  ],
  [
    'rows of another task',
    'ba.jsonl',
    lines(...texts.map(({ text }) => ({ instruction: text, output: 'b' }))),
    /^ba\.jsonl:1: a row with "instruction", "output" is for task\.kind: sft, but task\.kind is lm\. Add task\.kind=sft, or fine-tune weights on these rows: npx lockstep finetune MODEL ba\.jsonl$/,
  ],
  ['text in place of rows', 'ab.txt', 'only words\n', /^data\.examples: ab\.txt is text, not rows/],
  ['no rows at all', 'ac.csv', 'text,label\n', /^data\.examples: found no rows in ac\.csv/, classify],
  [
    'too few rows',
    'ad.jsonl',
    lines(texts[0]),
    /^data\.examples: found 1 row, of which data\.valFraction: 0\.1 leaves 1 to train on and 0 to validate/,
  ],
  [
    'a label that no training row has',
    'ae.jsonl',
    lines(...labelled),
    /^val\.jsonl:1: the label "other" is not one of the classes, which are "ham", "spam"\./,
    classify,
    'data.validation=val.jsonl',
  ],
];

const sources = lines(...texts.map(({ text }) => ({ source: text, target: text })));
const translations: readonly Case[] = [
  [
    'a row without a target',
    'ta.jsonl',
    `${sources}{"source":"a"}`,
    /^ta\.jsonl:10: expected a text in target/,
    ...seq2seq,
  ],
  [
    'an empty source',
    'tb.jsonl',
    `${sources}{"source":"","target":"a"}`,
    /^tb\.jsonl:10: .* source, but it is empty/,
    ...seq2seq,
  ],
  [
    'more sources than targets',
    'tc.en',
    'a\nb\nc\n',
    /^tc\.en has 3 lines, but val\.txt has 2/,
    ...seq2seq,
    'data.examples=[tc.en,val.txt]',
  ],
  [
    'an empty line in one file',
    'td.en',
    'a\n\n',
    /^td\.en:2: the line is empty, but that of val\.txt is not/,
    ...seq2seq,
    'data.examples=[td.en,val.txt]',
  ],
  [
    'sources without targets',
    'te.en',
    'a\nb\n',
    /^data\.examples: found only te\.en\. Expected two text files/,
    ...seq2seq,
  ],
  [
    'a source that is too long',
    'tf.jsonl',
    `${sources}${JSON.stringify({ source: 'x'.repeat(500), target: 'a' })}`,
    /^data\.examples: found 1 of 10 rows with more than model\.blockSize: 256 tokens, the longest with 501 \(tf\.jsonl:10\)/,
    ...seq2seq,
  ],
  [
    'a target that is too long, which is never shortened',
    'tg.jsonl',
    `${sources}${JSON.stringify({ source: 'x'.repeat(500), target: 'x'.repeat(256) })}`,
    /^data\.examples: found 1 of 10 rows .*, which cannot be shortened enough/,
    ...seq2seq,
    'task.tooLong=truncatePrompt',
  ],
  [
    'a model without an encoder',
    'th.jsonl',
    sources,
    /task\.kind = "seq2seq" needs a model with an encoder \(encoderDecoder\), but there is model\.architecture = "gpt2"/,
    'task.kind=seq2seq',
  ],
  [
    'a model with an encoder',
    'ti.jsonl',
    lines(...texts),
    /task\.kind = "lm" must be seq2seq for a model with an encoder: model\.architecture = "encoderDecoder"/,
    ...withEncoder,
  ],
];

const named = [...cases, ...translations].map(([what, name, content, message, ...set]) => ({
  what,
  name,
  content,
  message,
  set,
}));

it.each(named)('$what', async ({ name, content, message, set }) => {
  const cwd = join(root, name);
  mkdirSync(cwd);
  writeFileSync(join(cwd, name), content);
  writeFileSync(join(cwd, 'val.jsonl'), lines({ text: 'a', label: 'other' }));
  writeFileSync(join(cwd, 'val.txt'), 'one\ntwo\n');
  writeFileSync(join(cwd, 'chat.jinja'), trimming);
  const messages = { note: () => {}, warn: () => {}, progress: () => () => {} };
  const rows = set.some((key) => key.startsWith('data.examples=')) ? [] : [`data.examples=${name}`];
  const keys = ['model.blockSize=256', 'data.tokenizer=byte', ...rows, ...set];
  const run = prepareRun(
    { encrypt: true, singleProcess: true, dryRun: false, runDir: 'run', set: keys },
    cwd,
    messages,
  );
  await expect(run).rejects.toThrow(UserError);
  await expect(run).rejects.toThrow(message);
  expect(readdirSync(cwd).sort()).toEqual([name, 'chat.jinja', 'val.jsonl', 'val.txt'].sort());
});
