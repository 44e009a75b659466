/** Rows of every format come with the place where a person finds them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readRows } from '../../../../src/data/examples/readRows.ts';

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-rows-'));
});
afterAll(() => rmSync(cwd, { recursive: true }));

async function rowsOf(name: string, content: string | Uint8Array, columns: readonly string[] = []) {
  writeFileSync(join(cwd, name), content);
  const notices: string[] = [];
  const rows = await readRows({
    paths: [name],
    setting: 'data.examples',
    cwd,
    columns,
    onNotice: (line) => notices.push(line),
  });
  expect(notices).toEqual([]);
  return rows;
}

const two = [
  { row: { text: 'héllo', label: 'ham' }, line: 2 },
  { row: { text: 'a, "b"\nc', label: 'spam' }, line: 4 },
];

describe('rows with the lines where they begin', () => {
  it.each<[name: string, content: string | Uint8Array]>([
    ['a.jsonl', '\n{"text":"héllo","label":"ham"}\n\n{"text":"a, \\"b\\"\\nc","label":"spam"}\n'],
    ['bom.jsonl', '\ufeff\r\n{"text":"héllo","label":"ham"}\r\n\r\n{"text":"a, \\"b\\"\\nc","label":"spam"}'],
    ['a.json', '[\n{"text":"héllo",\n"label":"ham"},\n {"text":"a, \\"b\\"\\nc","label":"spam"}\n]\n'],
    ['a.csv', 'text,label\nhéllo,ham\n\n"a, ""b""\nc",spam\n'],
    ['crlf.csv', '\ufefftext,label\r\nhéllo,ham\r\n\r\n"a, ""b""\nc",spam'],
    ['semicolon.csv', 'text;label\nhéllo;ham\n\n"a, ""b""\nc";spam\n'],
    ['a.jsonl.gz', gzipSync('\n{"text":"héllo","label":"ham"}\n\n{"text":"a, \\"b\\"\\nc","label":"spam"}\n')],
  ])('%s', async (name, content) => {
    const rows = await rowsOf(name, content);
    expect(rows.map(({ row, at }) => ({ row, at }))).toEqual(
      two.map(({ row, line }) => ({ row, at: `${name}:${line}` })),
    );
  });

  it('in Parquet with the number of the row, whole numbers as numbers', async () => {
    const bytes = parquetWriteBuffer({
      columnData: [
        { name: 'text', data: ['one', 'two'], type: 'STRING' },
        { name: 'label', data: [7n, 8n], type: 'INT64' },
      ],
    });
    expect(await rowsOf('a.parquet', new Uint8Array(bytes))).toEqual([
      { row: { text: 'one', label: 7 }, at: 'a.parquet: row 1' },
      { row: { text: 'two', label: 8 }, at: 'a.parquet: row 2' },
    ]);
  });

  it('of nested values, whatever their keys are called', async () => {
    const [{ row } = { row: {} }] = await rowsOf(
      'n.jsonl',
      '{"messages":[{"role":"user","content":"a"}],"__proto__":1}',
    );
    expect(Object.keys(row)).toEqual(['messages', '__proto__']);
    expect(Object.getPrototypeOf(row)).toBe(Object.prototype);
  });
});

describe('columns that are chosen', () => {
  const chosen = ['label=v1', 'text = v2'];
  const row = { label: 'ham', text: 'hi' };

  it.each([
    ['of a table, whatever the others are called', 'chosen.csv', 'v1,v2,,\nham,hi,,\n', 2],
    ['of JSON lines', 'chosen.jsonl', '{"v2":"hi","idx":3,"v1":"ham"}\n', 1],
    ['where rows have their names already', 'named.tsv', 'text\tlabel\nhi\tham\n', 2],
  ])('%s', async (_, name, content, line) => {
    expect(await rowsOf(name, content, chosen)).toEqual([{ row, at: `${name}:${line}` }]);
  });

  it.each([
    ['v1,v2\nham,hi\n', ['label=v1', 'text'], /^data\.columns: expected KEY=COLUMN .*, received text$/],
    ['v1,v2\nham,hi\n', ['label=v1', 'label=v2'], 'data.columns: two columns for label: remove one'],
    [
      'v1,v2\nham,hi\n',
      ['label=v1', 'text=v3'],
      /^wrong\.csv:2: expected a column v3 \(data\.columns\), .* "v1", "v2"$/,
    ],
    ['v1,v2,v2\nham,hi,ho\n', chosen, /^wrong\.csv:1: two columns have the name v2\./],
    ['a,\nham,hi\n', [], /received an empty one\. .*otherwise choose columns with it, such as text=NAME$/],
  ])('%j with %j is refused', async (content, columns, message) => {
    await expect(rowsOf('wrong.csv', content, columns)).rejects.toThrow(message);
  });
});

describe('tables', () => {
  it('without a header get the names of data.columns, and their first row counts', async () => {
    expect(await rowsOf('plain.tsv', 'ham\thi\nspam\twin\n', ['label', 'text'])).toEqual([
      { row: { label: 'ham', text: 'hi' }, at: 'plain.tsv:1' },
      { row: { label: 'spam', text: 'win' }, at: 'plain.tsv:2' },
    ]);
  });

  it.each<[what: string, content: string]>([
    ['a tab', 'ham\thi, my friend, how are you, today\nspam\twin; now; or never\n'],
    ['a semicolon, where commas give the first row as many cells', 'ham;hi, you\nspam;"win; now"\nham;hello\n'],
    ['a comma, where only a later row has other marks', 'ham,hi\nspam,one; two; three | four\n'],
    ['a bar, where a comma and a quote would make a row invalid', 'ham|hi,"you" there\nspam|win\n'],
  ])('without a header are separated by what gives the number of data.columns: %s', async (_, content) => {
    const rows = await rowsOf('headless.csv', content, ['label', 'text']);
    expect(rows.map(({ row }) => row['label']).slice(0, 2)).toEqual(['ham', 'spam']);
  });

  it('in TSV have quotes as ordinary characters: one that opens a text would swallow the rows after it', async () => {
    const rows = await rowsOf('quotes.tsv', 'label\ttext\nham\t"Hi its Kate\nham\t"HEY" she said\n');
    expect(rows.map(({ row }) => row['text'])).toEqual(['"Hi its Kate', '"HEY" she said']);
  });

  it('in CSV may have a quote inside a cell that is not quoted, and empty cells', async () => {
    const rows = await rowsOf('inch.csv', 'text,label\na 5" pipe,\n"",x\n');
    expect(rows.map(({ row }) => row)).toEqual([
      { text: 'a 5" pipe', label: '' },
      { text: '', label: 'x' },
    ]);
  });
});

describe('two text files with aligned lines', () => {
  const write = (name: string, content: string | Uint8Array) => {
    writeFileSync(join(cwd, name), content);
    return name;
  };
  const read = (paths: readonly string[], options: { columns?: string[]; aligned?: boolean } = {}) =>
    readRows({ paths, setting: 'data.examples', cwd, columns: [], aligned: true, onNotice: () => {}, ...options });

  it('are rows, with the place of their source', async () => {
    const paths = [
      write('a.en', '\ufeffone\r\n\r\n two\u2028 2 \r\nthree\r\n'),
      write('a.es.gz', gzipSync('uno\n \ndos\ntres')),
    ];
    expect(await read(paths)).toEqual([
      { row: { source: 'one', target: 'uno' }, at: 'a.en:1' },
      { row: { source: ' two\u2028 2 ', target: 'dos' }, at: 'a.en:3' },
      { row: { source: 'three', target: 'tres' }, at: 'a.en:4' },
    ]);
    expect((await read(paths.toReversed()))[0]).toEqual({ row: { source: 'uno', target: 'one' }, at: 'a.es.gz:1' });
  });

  it.each<[what: string, en: string, es: string, message: RegExp]>([
    ['unequal numbers of lines', 'a\nb\nc\n', 'x\n', /^n0\.en has 3 lines, but n0\.es has 1: expected as many/],
    [
      'an empty target',
      'a\nb\n',
      'x\n\n',
      /^n1\.es:2: the line is empty, but that of n1\.en is not\. Remove such lines from both files$/,
    ],
    [
      'empty lines',
      '\nb\nc\n',
      'x\n \nz\n',
      /^n2\.en:1: the line is empty, but that of n2\.es is not, and 1 more lines are empty in one file only/,
    ],
    ['a zero character', 'a\n', '\0\n', /^n3\.es:1: expected text, received a zero character/],
    ['only blank lines', '\n \n', '\n\n', /^data\.examples: found no rows in n4\.en, n4\.es/],
  ])('refuses %s', async (_, en, es, message) => {
    const stem = /n\d/.exec(message.source)![0];
    await expect(read([write(`${stem}.en`, en), write(`${stem}.es`, es)])).rejects.toThrow(message);
  });

  it('are exactly two, and both text', async () => {
    const [en, es, fr] = ['b.en', 'b.es', 'b.fr'].map((name) => write(name, 'a\n')) as [string, string, string];
    const rows = write('b.jsonl', '{"source":"a","target":"b"}\n');
    const expected =
      'Expected two text files with aligned lines, the sources first and then the targets, or files of rows {source, target}';
    await expect(read([en])).rejects.toThrow(`data.examples: found only b.en. ${expected}`);
    await expect(read([en, es, fr])).rejects.toThrow(
      `data.examples: found 3 text files in b.en, b.es, b.fr. ${expected}`,
    );
    await expect(read([en, es, es])).rejects.toThrow(
      `data.examples: found b.en, b.es, b.es, which repeats a file. ${expected}`,
    );
    await expect(read([en, `./${en}`])).rejects.toThrow(
      `data.examples: found b.en, ./b.en, which repeats a file. ${expected}`,
    );
    // In the order of their names, which need not be the one that is meant.
    await expect(read(['b.e*'])).rejects.toThrow(`data.examples: found 2 text files in b.e*. ${expected}`);
    await expect(read([en, rows])).rejects.toThrow(`data.examples: b.en is text, but b.jsonl has rows. ${expected}`);
    await expect(read([en, es], { columns: ['source', 'target'] })).rejects.toThrow(
      'data.columns is for rows, but b.en is text: omit it',
    );
    await expect(read([en, es], { aligned: false })).rejects.toThrow(
      /^data\.examples: b\.en is text, not rows.* say which, as in data\.format=jsonl$/,
    );
    await expect(read(['none.jsonl'])).rejects.toThrow(
      /Name your rows with data\.examples=PATH \(a file, folder or glob\)\.$/,
    );
    expect(await read([rows])).toHaveLength(1);
  });
});
