/** `launch prepare` in this thread: what comes out of every kind of input, what is refused, and how it resumes after an end. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { UserError } from '../../../../src/base/errors.ts';
import { processOf } from '../../../../src/base/processes.ts';
import type { Dataset } from '../../../../src/data/dataset.ts';
import { openDataset } from '../../../../src/data/openDataset.ts';
import { inThisThread } from '../../../../src/data/prepare/encodePool.ts';
import { type Prepared, type PrepareOptions, prepareShards } from '../../../../src/data/prepare/prepareShards.ts';
import { checkFieldOptions, findSources } from '../../../../src/data/prepare/sources.ts';
import type { TokenSequence } from '../../../../src/data/tokenArray.ts';
import { createTokenizer } from '../../../../src/data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../../../../src/data/tokenizers/tokenizer.ts';

const END = 50_256;

let cwd: string;
let gpt2: Tokenizer;
/** Has no end-of-text token, but small files. */
let characters: Tokenizer;
beforeAll(async () => {
  gpt2 = await createTokenizer('gpt2', '');
  characters = await createTokenizer('char', 'abcdefghijklmnopqrstuvwxyzLD0123456789ïöä ,.-\n');
});
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-prepare-'));
});
afterEach(() => rmSync(cwd, { recursive: true }));

const skippedLines: string[] = [];
const normalisedLines: number[] = [];

interface Given extends Partial<PrepareOptions> {
  readonly names?: string[];
}

async function run({ names = ['in'], ...options }: Given = {}): Promise<Prepared | undefined> {
  const listener = {
    resumed() {},
    progress() {},
    skipped: (what: string) => skippedLines.push(what),
    normalised: (lines: number) => normalisedLines.push(lines),
  };
  return prepareShards({
    ...{
      sources: await findSources(names, { cwd }),
      out: join(cwd, 'out'),
      tokenizer: characters,
      field: 'text',
      lineEndings: 'lf',
      skipBad: false,
    },
    ...{ split: { by: 'fraction', val: 0.1 }, shardTokens: 2 ** 20, makePool: inThisThread, listener },
    ...options,
  });
}

const open = (name = 'out', kind: 'char' | 'gpt2' = 'char', blockSize = 1): Promise<Dataset> =>
  openDataset({ text: 'builtin', shards: name, tokenizer: kind, valFraction: 0.5 }, { blockSize, cwd });
const listOf = (split: TokenSequence) => [...split.subarray(0, split.length)];

/** All documents that were prepared, as text. */
async function documents(name = 'out'): Promise<string[]> {
  const { train, val } = await open(name, 'gpt2');
  const texts: string[] = [];
  let ids: number[] = [];
  for (const id of [...listOf(train), ...listOf(val)]) {
    if (id === END) {
      texts.push(gpt2.decode(ids));
      ids = [];
    } else ids.push(id);
  }
  expect(ids).toEqual([]);
  return texts;
}

function filesIn(name: string): Record<string, string> {
  const folder = join(cwd, name);
  return Object.fromEntries(readdirSync(folder).map((file) => [file, readFileSync(join(folder, file), 'base64')]));
}

const write = (name: string, content: string | Uint8Array) => writeFileSync(join(cwd, name), content);
const long = (count: number) =>
  Array.from({ length: count }, (_, i) => `Line ${i} of a text, naïve as ever.\n`).join('');
/** Zstandard data of two frames, the first with "zstd text, ", the second with "in two frames": made by the reference tool. */
const twoFrames = Buffer.from('KLUv/QRYWQAAenN0ZCB0ZXh0LCDSQuDYKLUv/QRYaQAAaW4gdHdvIGZyYW1lc1M+7lI=', 'base64');

/** 20,000 lines in frames of several blocks, with and without a checksum; and a skippable frame, as pzstd and seekable files have. */
const manyBlocks = Buffer.from(
  'KLUv/QRYvAAAeGEgbGluZSBvZiB0ZXh0CgEA7v+SzzpMAAAIbAEA/P85EAJNAAAIbgEA3BMdCAG1Bmfz',
  'base64',
);
const withoutChecksum = Buffer.from(
  'KLUv/QBYvAAAeGEgbGluZSBvZiB0ZXh0CgEA7v+SzzpMAAAIbAEA/P85EAJNAAAIbgEA3BMdCAE=',
  'base64',
);
const skippable = Buffer.from('5a2a4d1803000000000000', 'hex');

describe('prepare', () => {
  it('gives the tokens of a text of many parts, and the end of the document', async () => {
    const text = long(40_000);
    write('in', text);
    expect(await run({ tokenizer: gpt2, shardTokens: 100_000 })).toMatchObject({
      documents: 1,
      textBytes: Buffer.byteLength(text),
    });
    const { train, val } = await open('out', 'gpt2');
    expect([...listOf(train), ...listOf(val)]).toEqual([...gpt2.encode(text), END]);
    expect(val.length / (train.length + val.length)).toBeCloseTo(0.1, 4);
  });

  it('reads text, JSON lines, tables, folders and globs, plain and compressed, in order', async () => {
    mkdirSync(join(cwd, 'in'));
    const body = (name: string) => [
      { text: `${name} one`, n: 1 },
      { n: 2, text: `${name} twö\n` },
    ];
    const lines = (name: string) =>
      body(name)
        .map((value) => JSON.stringify(value))
        .join('\n');
    write('in/a.txt', '\ufeffplain text');
    write('in/b.md.gz', gzipSync('gzipped text'));
    write('in/c.txt.zst', twoFrames);
    write('in/d.jsonl', `${lines('d')}\n\n`);
    write('in/e.ndjson.gz', Buffer.concat([gzipSync(lines('e')), gzipSync(`\n${lines('e2')}`)]));
    const column = { name: 'text', data: ['f one', 'f two'], type: 'STRING' as const };
    const other = { name: 'n', data: [1, 2], type: 'INT32' as const };
    write('in/f.parquet', new Uint8Array(parquetWriteBuffer({ columnData: [other, column] })));
    write('in/g.txt', '');
    const expected = ['plain text', 'gzipped text', 'zstd text, in two frames'];
    expected.push(...['d', 'e', 'e2'].flatMap((name) => [`${name} one`, `${name} twö\n`]), 'f one', 'f two');
    expect(await run({ tokenizer: gpt2 })).toMatchObject({ documents: 11 });
    expect(await documents()).toEqual(expected);
    await run({ names: ['in/*.t*'], out: join(cwd, 'out2'), tokenizer: gpt2, split: { by: 'fraction', val: 0.5 } });
    expect(await documents('out2')).toEqual(['plain text', 'zstd text, in two frames']);
  });

  it('reads JSON under the names that people give it: lines, and arrays of objects', async () => {
    const documents1 = ['one', 'two\nlines, "quoted", \\ and [brackets]'];
    write('c4-train.0.json.gz', gzipSync(documents1.map((text) => `${JSON.stringify({ text, n: 1 })}\n`).join('')));
    write(
      'c4-train.1.json',
      `\ufeff${JSON.stringify([{ text: 'three' }, { n: [1, { a: 2 }], text: 'fo,ur' }], null, 2)}\n`,
    );
    write('c4-train.2.json', '[]');
    await run({ names: ['c4-train.*'], tokenizer: gpt2 });
    expect(await documents()).toEqual([...documents1, 'three', 'fo,ur']);
  });

  it('reads CSV and TSV: quotes and line feeds in cells of CSV, any separator, a byte order mark', async () => {
    write('a.csv', '\ufeffid,text,x\r\n1,"one, ""quoted""\nand more",y\r\n2,two with a "quote" in it,\r\n\r\n3,,z\r\n');
    write('b.tsv', 'text\tid\n"three\t1\nfour, five\t2');
    write('c.csv.gz', gzipSync('text;id\n"six; seven";1\neight, nine;2\n'));
    await run({ names: ['a.csv', 'b.tsv', 'c.csv.gz'], tokenizer: gpt2 });
    // As the rows of examples: in TSV a quote is part of the text, also one that is never closed.
    const expected = ['one, "quoted"\nand more', 'two with a "quote" in it', '"three', 'four, five'];
    expect(await documents()).toEqual([...expected, 'six; seven', 'eight, nine']);
  });

  it('reads zstd in any number of frames, some of which must be skipped', async () => {
    const lines = 'a line of text\n'.repeat(20_000);
    write('a.zst', Buffer.concat([skippable, manyBlocks, skippable, withoutChecksum, skippable, twoFrames, skippable]));
    write('b.zst', Buffer.concat([withoutChecksum, manyBlocks]));
    await run({ names: ['a.zst', 'b.zst'], tokenizer: gpt2 });
    expect(await documents()).toEqual([`${lines}${lines}zstd text, in two frames`, `${lines}${lines}`]);
  });

  it('leaves out a line that is too long to be held, from files and from standard input alike', async () => {
    const long = `{"text":"${'a'.repeat(33 * 2 ** 20)}"}`;
    write('array.json', `[${long}]`);
    await expect(run({ names: ['array.json'], tokenizer: gpt2 })).rejects.toThrow(
      'array.json: element 1: expected a shorter element, but this element has more than 33554432 bytes; --skip-bad',
    );
    for (const [name, content] of [
      ['middle.jsonl', `{"text":"one"}\n${long}\n{"text":"two words"}\n`],
      ['end.jsonl', `{"text":"one"}\n{"text":"two words"}\n${long}`],
    ] as const) {
      write(name, content);
      await expect(run({ names: [name], tokenizer: gpt2 })).rejects.toThrow(
        /jsonl:[23]: expected a JSON object in each line, but this line has more than 33554432 bytes; --skip-bad/,
      );
      const prepared = await run({
        names: [name],
        tokenizer: gpt2,
        skipBad: true,
        split: { by: 'fraction', val: 0.5 },
      });
      expect(prepared).toMatchObject({ documents: 2, skipped: 1 });
      expect(await documents()).toEqual(['one', 'two words']);
      rmSync(join(cwd, 'out'), { recursive: true });
    }
  });

  it('makes LF of CRLF in texts and documents, and says so, or leaves them', async () => {
    write('in.txt', `a\r\nb\rc\r\n${'word\r\n'.repeat(200_000)}`);
    write('in.jsonl', JSON.stringify({ text: 'd\r\ne' }));
    normalisedLines.length = 0;
    const names = ['in.txt', 'in.jsonl'];
    await run({ names, tokenizer: gpt2 });
    expect(await documents()).toEqual([`a\nb\rc\n${'word\n'.repeat(200_000)}`, 'd\ne']);
    expect(normalisedLines.reduce((sum, lines) => sum + lines, 0)).toBe(200_003);
    normalisedLines.length = 0;
    await run({ names, tokenizer: gpt2, out: join(cwd, 'kept'), lineEndings: 'keep' });
    expect((await documents('kept'))[1]).toBe('d\r\ne');
    expect(normalisedLines).toEqual([]);
  });

  it('draws documents for validation by their number, wherever the input is cut', async () => {
    const texts = Array.from({ length: 3_000 }, (_, i) => `document ${i}`);
    write('in', texts.map((text) => JSON.stringify({ text })).join('\n'));
    const split = { by: 'documents', val: 0.2 } as const;
    await run({ names: [], sources: await findSources(['in'], { cwd, format: 'jsonl' }), split });
    const { train, val } = await open();
    const numbers = (part: TokenSequence) => characters.decode(listOf(part)).match(/\d+/g)!.map(Number);
    const [inTrain, inVal] = [numbers(train), numbers(val)];
    expect([...inTrain, ...inVal].sort((a, b) => a - b)).toEqual(texts.map((_, i) => i));
    expect(inVal.length).toBeGreaterThan(500);
    expect(inVal.length).toBeLessThan(700);
    // The same documents in files of their own: the same draw.
    mkdirSync(join(cwd, 'many'));
    for (const [i, text] of texts.slice(0, 300).entries()) write(`many/${String(i).padStart(4, '0')}`, text);
    await run({ names: ['many'], out: join(cwd, 'out2'), split });
    const again = await open('out2');
    expect(numbers(again.val)).toEqual(inVal.filter((number) => number < 300));
  });

  it('gives a text of characters the tokens that data.text gives it', async () => {
    write('in', 'Ein Text, naïv wie immer.\n'.repeat(100));
    await run({ tokenizer: 'char' });
    const options = { tokenizer: 'char', valFraction: 0.1 } as const;
    const prepared = await openDataset({ ...options, text: 'builtin', shards: 'out' }, { blockSize: 8, cwd });
    const direct = await openDataset({ ...options, text: 'in' }, { blockSize: 8, cwd });
    expect(listOf(prepared.train)).toEqual(listOf(direct.train));
    expect(listOf(prepared.val)).toEqual(listOf(direct.val));
    expect(prepared.tokenizerSha256).toBe(direct.tokenizerSha256);
    expect(prepared.vocabSize).toBe(direct.vocabSize);
  });
});

/** The bytes with one of them changed. */
function table(codec: 'SNAPPY' | 'UNCOMPRESSED'): Buffer {
  const data = Array.from({ length: 100 }, (_, i) => `document number ${i}`);
  return Buffer.from(parquetWriteBuffer({ columnData: [{ name: 'text', data, type: 'STRING' }], codec }));
}

function withByte(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at < 0 ? bytes.length + at : at]! ^= 1;
  return changed;
}

describe('input that is not text', () => {
  const refusal = async (given: Given = {}) => {
    const error = await run(given).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(UserError);
    // The output is not taken for complete.
    await expect(open()).rejects.toThrow(UserError);
    expect(readdirSync(join(cwd, 'out'))).not.toContain('prepare.lock');
    return (error as UserError).message;
  };

  it('is told by file and offset', async () => {
    const text = Buffer.from(long(40_000));
    text[700_000] = 0;
    write('in', text);
    expect(await refusal()).toMatch(/^in: expected text, received a zero byte at offset 700000: give text in UTF-8/);
    text[700_000] = 0xff;
    text[900_000] = 0xff;
    write('in', text);
    rmSync(join(cwd, 'out'), { recursive: true });
    expect(await refusal()).toMatch(/^in: expected text in UTF-8, received bytes that are not, at offset 700000/);
  });

  it('is told where a file ends in the middle of a character, or holds nothing', async () => {
    write('in', Buffer.from('text ä').subarray(0, 6));
    expect(await refusal()).toMatch(/at offset 5/);
    rmSync(join(cwd, 'out'), { recursive: true });
    write('in', '');
    expect(await refusal()).toMatch(/^in: there is no text in it/);
  });

  it.each([
    ['{"text": "cut sho', /^in\.jsonl:3: expected a JSON object, received \{"text": "cut sho; --skip-bad/],
    ['[1]', /^in\.jsonl:3: expected a JSON object, received \[1\]/],
    ['{"body": "b", "n": 1}', /^in\.jsonl:3: expected the field text, received body, n/],
    ['{"text": 5}', /^in\.jsonl:3: expected a text in text, received 5/],
    ['{"text": "a\\u0000b"}', /^in\.jsonl:3: expected text, received a zero character/],
    ['{"text": "a\\ud800b"}', /^in\.jsonl:3: expected text, received half a surrogate pair/],
  ])('is told by line: %s', async (line, message) => {
    write('in.jsonl', `{"text": "good"}\n\n${line}\n{"text": "also good"}\n`);
    expect(await refusal({ names: ['in.jsonl'] })).toMatch(message);
    rmSync(join(cwd, 'out'), { recursive: true });
    skippedLines.length = 0;
    expect(await run({ names: ['in.jsonl'], skipBad: true })).toMatchObject({ documents: 2, skipped: 1 });
    const { train, val } = await open();
    expect(characters.decode([...listOf(train), ...listOf(val)])).toBe('good\nalso good\n');
    expect(skippedLines).toEqual([expect.stringMatching(/^in\.jsonl:3: /)]);
  });

  it('is told by line in the second part of a file too', async () => {
    const lines = Array.from({ length: 30_000 }, (_, i) => JSON.stringify({ text: `document number ${i}` }));
    lines[29_999] = 'no JSON';
    write('in.jsonl', lines.join('\n'));
    expect(await refusal({ names: ['in.jsonl'] })).toMatch(/^in\.jsonl:30000: /);
  });

  it.each<[string, Uint8Array, RegExp]>([
    ['in.gz', gzipSync(long(1_000)).subarray(0, 200), /^in\.gz: expected complete gzip data/],
    ['in.gz', Buffer.from('no gzip'), /^in\.gz: expected complete gzip data/],
    ['in.zst', twoFrames.subarray(0, 40), /^in\.zst: expected complete zstd data/],
    ['in.zst', twoFrames.subarray(0, 20), /^in\.zst: expected complete zstd data/],
    ['in.zst', withByte(twoFrames, 12), /^in\.zst: .* but its content does not have its checksum/],
    ['in.zst', withByte(manyBlocks, -1), /^in\.zst: .* but its content does not have its checksum/],
    ['in.zst', Buffer.concat([twoFrames, Buffer.from('more')]), /^in\.zst: .* but something else follows a part of it/],
    ['in.zst', Buffer.from('this is not zstd data at all'), /^in\.zst: expected complete zstd data/],
    [
      'in.parquet',
      Buffer.from('PAR1 this has no table PAR1'),
      /^in\.parquet: expected complete Parquet data, but its end/,
    ],
  ])('is told where %s is damaged', async (name, bytes, message) => {
    write(name, bytes);
    expect(await refusal({ names: [name] })).toMatch(message);
  });

  it.each<[string, Buffer]>([
    ['in.gz', gzipSync(long(1_000))],
    ['in.zst', twoFrames],
    ['in.zst', manyBlocks],
    ['in.parquet', table('SNAPPY')],
    ['in.parquet', table('UNCOMPRESSED')],
  ])('is told of in words wherever %s is cut off or changed', async (name, bytes) => {
    const messages = new Set<string>();
    for (let part = 0; part < 12; part++) {
      const at = Math.floor((bytes.length * part) / 12);
      for (const damaged of [bytes.subarray(0, at), withByte(bytes, at)]) {
        write(name, damaged);
        // A changed byte may change the text alone, in formats without a checksum.
        await run({ names: [name] }).catch((error: Error) => messages.add(error.message));
        rmSync(join(cwd, 'out'), { recursive: true, force: true });
      }
    }
    expect([...messages].filter((message) => message.includes('Copy or download the file again'))).not.toEqual([]);
    for (const message of messages) {
      expect(message).not.toMatch(
        /Error|undefined|null|DataView|offset|bounds|invalid|thrift|snappy error|PAR1|eof|unexpected end/i,
      );
      // A changed byte may also make another text, which the tokenizer may refuse.
      expect(message).toMatch(/^(in\.\w+: |the text has characters)/);
    }
  });

  it.each<[string, string, RegExp]>([
    [
      'in.csv',
      'id,body\n1,a\n',
      /^in\.csv: expected a column text in the first row, .*received "id", "body": name one with --field/,
    ],
    [
      'in.csv',
      'id,text\n1,a\n2,b, c\n',
      /^in\.csv: row 2: expected 2 columns as in the first row, received 3; --skip-bad/,
    ],
    ['in.csv', 'id,text\n', /^in\.csv: there is no text in it \(a table needs a row with text below its header\)/],
    [
      'in.csv',
      'id,text\r\n1,"a\r\nb"""\r\n\r\n2,"c","d\n',
      /^in\.csv:5: expected a table in csv, but the quote that opens/,
    ],
    [
      'in.csv',
      'id\ttext\n1\t"a"\n2\t"b\n'.concat('3\tc\n'.repeat(50_000)),
      /^in\.csv:3: expected a table in csv, but the quote/,
    ],
    [
      'in.csv',
      'id,text\n1,"a\n2,b\n',
      /^in\.csv:2: expected a table in csv, but the quote that opens here is never closed/,
    ],
    ['in.json', '[{"text":"a"},{"body":"b"}]', /^in\.json: element 2: expected the field text, received body; --field/],
    [
      'in.json',
      '[{"text":"a"},{"text":"b"}',
      /^in\.json: expected an array of JSON objects, but it ends before its closing/,
    ],
    ['in.json', '[{"text":"a"}] [', /^in\.json: expected an array of JSON objects, but it continues after its end/],
  ])('is told of %s with %j', async (name, content, message) => {
    write(name, content);
    expect(await refusal({ names: [name] })).toMatch(message);
  });

  it('is left out of tables by row', async () => {
    write(
      'in.csv',
      Buffer.concat([
        Buffer.from('text,n\none,1\ntwo,2,3\n'),
        Buffer.from([0xff, 0x2c, 0x31, 0x0a]),
        Buffer.from('three,3\n'),
      ]),
    );
    const split = { by: 'fraction', val: 0.5 } as const;
    skippedLines.length = 0;
    expect(await run({ names: ['in.csv'], tokenizer: gpt2, split, skipBad: true })).toMatchObject({
      documents: 2,
      skipped: 2,
    });
    expect(await documents()).toEqual(['one', 'three']);
    expect(skippedLines).toEqual([
      expect.stringMatching(/^in\.csv: row 2: /),
      expect.stringMatching(/^in\.csv: row 3: .*UTF-8/),
    ]);
  });

  it('is told where no source can use an option', async () => {
    write('a.txt', 'text');
    write('b.csv', 'text\na\n');
    const options = { options: ['--field'], formatOption: '--format' };
    const found = (names: string[]) => findSources(names, { cwd });
    expect(() => checkFieldOptions([], { ...options, options: [] })).not.toThrow();
    const [text, both] = [await found(['a.txt']), await found(['a.txt', 'b.csv'])];
    expect(() => checkFieldOptions(text, options)).toThrow(
      /^--field: the sources are read as text, .*\(a\.txt\).*--format jsonl$/,
    );
    expect(() => checkFieldOptions(both, options)).not.toThrow();
  });

  it('is told where a table has no such column', async () => {
    const columnData = [{ name: 'body', data: ['a'], type: 'STRING' as const }];
    write('in.parquet', new Uint8Array(parquetWriteBuffer({ columnData })));
    expect(await refusal({ names: ['in.parquet'] })).toMatch(/^in\.parquet: expected a column text, received body/);
  });
});

describe('resuming', () => {
  class Killed extends Error {}

  /** Ends after `jobs` jobs, with every one made sure of, or none. */
  const runUntil = async (jobs: number, given: Given) => {
    let left = jobs;
    const listener = {
      resumed() {},
      skipped() {},
      normalised() {},
      progress() {
        if (left-- === 0) throw new Killed();
      },
    };
    await run({ ...given, listener }).catch((error: unknown) => {
      if (!(error instanceof Killed)) throw error;
    });
  };

  it.each([
    ['a text', 'in.txt', (name: string) => write(name, long(80_000))],
    ['compressed lines', 'in.jsonl.gz', (name: string) => write(name, gzipSync(jsonLines(100_000)))],
    ['an array', 'in.json', (name: string) => write(name, `[${jsonLines(60_000).trimEnd().replaceAll('\n', ',\n')}]`)],
    ['a table', 'in.csv', (name: string) => write(name, `n,text\n${long(60_000).replaceAll(/^.*$/gm, '1,"$&\n"')}`)],
  ])(
    'after any job of %s comes to the same bytes',
    async (_, name, make) => {
      make(name);
      const given: Given = { names: [name], shardTokens: 300_000, split: { by: 'documents', val: 0.3 } };
      await run({ ...given, out: join(cwd, 'whole') });
      for (const jobs of [1, 3]) {
        for (const keepIntervalMs of [0, 1e9]) {
          rmSync(join(cwd, 'out'), { recursive: true, force: true });
          await runUntil(jobs, { ...given, keepIntervalMs });
          expect(readdirSync(join(cwd, 'out'))).not.toContain('manifest.json');
          await runUntil(1, { ...given, keepIntervalMs });
          expect(await run(given)).toBeDefined();
          expect(filesIn('out')).toEqual(filesIn('whole'));
        }
      }
      expect(await run(given)).toBeUndefined();
    },
    60_000,
  );

  it('lists every file of a tokenizer that was learned from the text', async () => {
    write('in.txt', long(60_000));
    const given: Given = { names: ['in.txt'], tokenizer: 'bpe:300', keepIntervalMs: 0 };
    await run({ ...given, out: join(cwd, 'whole') });
    await runUntil(6, given);
    expect(readdirSync(join(cwd, 'out'))).toContain('progress.json');
    await run(given);
    expect(filesIn('out')).toEqual(filesIn('whole'));
    expect(readdirSync(join(cwd, 'out'))).toContain('merges.txt');
  });

  it('is refused with another tokenizer, option or source, and when the input has changed', async () => {
    write('in', long(60_000));
    write('in2', long(60_000));
    await runUntil(2, { keepIntervalMs: 0 });
    const refused = (given: Given, message: RegExp) => expect(run(given)).rejects.toThrow(message);
    await refused(
      { tokenizer: 'char' },
      /was prepared with tokenizer "char, sha256 .*, not "char": choose another --out/,
    );
    await refused(
      { names: ['in2'] },
      /was prepared with sources in \([\d,]+ bytes\), not in2 \([\d,]+ bytes\): choose/,
    );
    await refused({ split: { by: 'fraction', val: 0.2 } }, /was prepared with split/);
    utimesSync(join(cwd, 'in'), 1, 1);
    await refused({}, /^in has changed since .* was begun: remove the folder/);
  });

  it.each<[string, string, string, Given]>([
    ['the field is corrected', '{"body":"abc"}\n', '{"body":"abc"}\n', { field: 'body' }],
    ['a bad line is corrected', `${'{"text":"abc"}\n'.repeat(500)}{"text":1}\n`, '{"text":"abc"}\n', {}],
    ['bad lines are left out', `${'{"text":"abc"}\n'.repeat(500)}{"text":1}\n`, '', { skipBad: true }],
  ])('takes its folder over after a failure: %s', async (_, first, second, change) => {
    write('in.jsonl', first);
    await expect(run({ names: ['in.jsonl'], keepIntervalMs: 0 })).rejects.toThrow(UserError);
    await expect(open()).rejects.toThrow(/nothing was made in .*out, since its input was refused: correct/);
    if (second !== '') write('in.jsonl', second);
    const prepared = await run({ names: ['in.jsonl'], ...change });
    expect(prepared?.documents).toBe(second === '' ? 500 : 1);
    expect(readdirSync(join(cwd, 'out')).filter((name) => ['failed', 'progress.json'].includes(name))).toEqual([]);
    // A complete output is not resumed.
    await expect(run({ names: ['in.jsonl'], ...change, shardTokens: 2 ** 21 })).rejects.toThrow(
      /was prepared with shardTokens/,
    );
  });

  it('forgets a failure when the same command resumes, and keeps other commands out', async () => {
    const given: Given = { names: ['in.jsonl'], keepIntervalMs: 0 };
    write('in.jsonl', `${jsonLines(100_000)}{"text":1}  \n`);
    utimesSync(join(cwd, 'in.jsonl'), 1, 1);
    await expect(run(given)).rejects.toThrow(UserError);
    expect(readdirSync(join(cwd, 'out'))).toEqual(expect.arrayContaining(['failed', 'progress.json']));
    // As many bytes, and as old: by all that can be seen it is the same input.
    write('in.jsonl', `${jsonLines(100_000)}{"text":"1"}\n`);
    utimesSync(join(cwd, 'in.jsonl'), 1, 1);
    await runUntil(0, given);
    await expect(run({ ...given, shardTokens: 2 ** 21 })).rejects.toThrow(/was prepared with shardTokens/);
    expect(readdirSync(join(cwd, 'out'))).not.toContain('failed');
    expect((await run(given))?.documents).toBe(100_001);
  });

  it('says what is wrong with the input where the folder cannot be marked', async () => {
    write('in.jsonl', `${jsonLines(100_000)}{"text":1}\n`);
    const listener = {
      resumed() {},
      skipped() {},
      normalised() {},
      // Takes the place of the mark, as a full disk does.
      progress: () => mkdirSync(join(cwd, 'out', 'failed'), { recursive: true }),
    };
    await expect(run({ names: ['in.jsonl'], listener })).rejects.toThrow(/^in\.jsonl:100001: /);
  });

  it('names the sources that differ, however many there are', async () => {
    const names = Array.from({ length: 20 }, (_, i) => `source-${i}`);
    for (const name of names) write(name, 'abc');
    await run({ names });
    await expect(run({ names: [...names.slice(0, 19), 'source-19'].slice(1) })).rejects.toThrow(
      /sources source-0 \(3 bytes\), not nothing: choose/,
    );
  });

  it('does not touch a folder with other things in it', async () => {
    write('in', 'text');
    mkdirSync(join(cwd, 'out'));
    write('out/thesis.doc', 'years of work');
    await expect(run()).rejects.toThrow(/has other files in it: name a new folder/);
    expect(readdirSync(join(cwd, 'out'))).toEqual(['thesis.doc']);
  });

  it('waits for nobody: a folder that a living process works in is refused', async () => {
    write('in', 'text '.repeat(100));
    mkdirSync(join(cwd, 'out'));
    const lock = (pid: number) => write('out/prepare.lock', JSON.stringify({ ...processOf(pid), claim: 'x' }));
    lock(process.ppid);
    await expect(run()).rejects.toThrow(new RegExp(`process ${process.ppid} is preparing`));
    // One that is gone has left its lock.
    lock(4_194_303);
    expect(await run()).toBeDefined();
  });
});

function jsonLines(count: number): string {
  return Array.from({ length: count }, (_, i) => `${JSON.stringify({ text: `Document ${i}, naïve as ever.` })}\n`).join(
    '',
  );
}

describe('training on prepared data', () => {
  const other = { text: 'builtin', tokenizer: 'gpt2', valFraction: 0.1 } as const;

  it('mixes folders in proportion to their tokens, or by weights', async () => {
    write('a', long(200));
    write('b', long(100));
    await run({ names: ['a'], out: join(cwd, 'pa') });
    await run({ names: ['b'], out: join(cwd, 'pb') });
    const both = { ...other, tokenizer: 'char', shards: ['pa', 'pb'] } as const;
    const plain = await openDataset(both, { blockSize: 8, cwd });
    const [a, b] = [await open('pa'), await open('pb')];
    expect(listOf(plain.train)).toEqual([...listOf(a.train), ...listOf(b.train)]);
    expect(listOf(plain.val)).toEqual([...listOf(a.val), ...listOf(b.val)]);
    expect(plain.corpora).toEqual([
      { tokens: a.train.length, weight: a.train.length },
      { tokens: b.train.length, weight: b.train.length },
    ]);
    const weighed = await openDataset({ ...both, weights: [3, 1] }, { blockSize: 8, cwd });
    expect(weighed.corpora.map(({ weight }) => weight)).toEqual([3, 1]);
    expect(new Set([plain.sha256, weighed.sha256, a.sha256, b.sha256]).size).toBe(4);
  });

  it('refuses shards of another tokenizer', async () => {
    write('in', long(200));
    await run({ out: join(cwd, 'pg'), tokenizer: gpt2 });
    await run({ out: join(cwd, 'pc'), tokenizer: 'char' });
    const opened = (data: object, options: object = {}) =>
      openDataset({ ...other, ...data }, { blockSize: 8, cwd, ...options });
    await expect(opened({ shards: ['pg', 'pc'] })).rejects.toThrow(
      /pc was made with the char tokenizer, pg with another/,
    );
    await expect(opened({ shards: 'pc' })).rejects.toThrow(/data\.tokenizer is gpt2: set data\.tokenizer=char/);
    const tokenizer = await createTokenizer('char', 'abc');
    await expect(opened({ shards: 'pg' }, { tokenizer })).rejects.toThrow(/than the model's \(char, 3 tokens\)/);
    rmSync(join(cwd, 'pc', 'tokenizer.json'));
    writeFileSync(join(cwd, 'pc', 'tokenizer.json'), tokenizer.files()['tokenizer.json']!);
    await expect(opened({ shards: 'pc', tokenizer: 'char' })).rejects.toThrow(/is not the tokenizer that the shards/);
  });

  it('refuses a folder that is too short for the model', async () => {
    write('in', 'a few words');
    await run({ split: { by: 'fraction', val: 0 } });
    await expect(open('out', 'char', 1_000)).rejects.toThrow(/out is too short: it has 12 tokens to train on/);
    const data = { ...other, tokenizer: 'char', shards: 'out' } as const;
    const { val } = await openDataset(data, { blockSize: 2, cwd, validates: false });
    expect(val).toHaveLength(0);
    write('val.txt', 'few words');
    const own = await openDataset({ ...data, validation: 'val.txt' }, { blockSize: 2, cwd });
    expect(characters.decode(listOf(own.val))).toBe('few words');
    expect(listOf((await openDataset({ ...data, validation: 'out' }, { blockSize: 2, cwd })).val)).toHaveLength(12);
    await expect(openDataset({ ...data, field: 'body' }, { blockSize: 2, cwd })).rejects.toThrow(
      /^data\.field=body: data\.shards are tokens/,
    );
    await expect(open('out', 'char', 2)).rejects.toThrow(
      /has 0 tokens to validate.*data\.validation.*eval\.everySteps=0.*--val-fraction/,
    );
  });
});
