import { createHash } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { readCorpus } from '../../../src/data/corpus.ts';
import type { DataOptions } from '../../../src/data/dataset.ts';
import { openDataset } from '../../../src/data/openDataset.ts';
import type { TokenSequence } from '../../../src/data/tokenArray.ts';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../../../src/data/tokenizers/tokenizer.ts';

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-data-'));
  mkdirSync(join(cwd, 'corpus', 'deep'), { recursive: true });
  mkdirSync(join(cwd, 'nothing'));
  mkdirSync(join(cwd, 'mixed'));
  writeFileSync(join(cwd, 'corpus', 'b.txt'), 'second\n');
  writeFileSync(join(cwd, 'corpus', 'a.txt'), 'first');
  writeFileSync(join(cwd, 'corpus', 'empty.txt'), '');
  writeFileSync(join(cwd, 'corpus', 'deep', 'c.md'), 'third\n');
  writeFileSync(join(cwd, 'empty.txt'), '');
  writeFileSync(join(cwd, 'header.csv'), 'id,text\n');
  writeFileSync(join(cwd, 'textless.csv'), 'id,text\n1,\n2,\n');
  writeFileSync(join(cwd, 'binary.txt'), new Uint8Array([65, 66, 0, 67]));
  writeFileSync(join(cwd, 'latin1.txt'), new Uint8Array([65, 0xe9, 66]));
  writeFileSync(join(cwd, 'mixed', 'a.txt'), 'text');
  writeFileSync(join(cwd, 'mixed', 'b.png'), new Uint8Array([0x89, 0x50, 0]));
  writeFileSync(join(cwd, 'bom.txt'), '\ufeffabc');
  writeFileSync(join(cwd, 'a[1].txt'), 'brackets');
  writeFileSync(join(cwd, 'letters.txt'), 'abcdefghij'.repeat(100));
});
afterAll(() => {
  rmSync(cwd, { recursive: true });
});

const read = (text: string | string[]) => readCorpus({ text, cwd });
const open = (data: Partial<DataOptions>, blockSize = 8) =>
  openDataset({ text: 'letters.txt', tokenizer: 'char', valFraction: 0.1, ...data }, { blockSize, cwd });

const openShort = (blockSize?: number) =>
  openDataset({ text: 'corpus/a.txt', tokenizer: 'char', valFraction: 0 }, { blockSize, cwd });

/** Where a link leads; of one that is gone, nowhere. */
function pathOf(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    return undefined;
  }
}

async function refusal(action: Promise<unknown>): Promise<string> {
  const error = await action.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(UserError);
  return (error as UserError).message;
}

describe('readCorpus', () => {
  it('reads a file exactly, a folder in order, a glob, and a list with each file once', async () => {
    expect((await read('corpus/a.txt')).text).toBe('first');
    expect(await read('corpus')).toMatchObject({
      text: 'first\nsecond\nthird\n',
      name: 'corpus (3 files)',
      fileCount: 3,
    });
    expect((await read('corpus/*.txt')).text).toBe('first\nsecond\n');
    expect((await read(join(cwd, 'corpus', '**', '*.md'))).text).toBe('third\n');
    expect((await read('{corpus,mixed}/*.txt')).text).toBe('first\nsecond\ntext');
    expect((await read(['corpus/b.txt', 'corpus', './corpus/a.txt'])).text).toBe('second\nfirst\nthird\n');
    expect((await read('a[1].txt')).text).toBe('brackets');
    expect((await read('bom.txt')).text).toBe('abc');
  });

  it('refuses a folder with a part that may not be read, rather than leaving it out', async () => {
    mkdirSync(join(cwd, 'partly', 'locked'), { recursive: true });
    writeFileSync(join(cwd, 'partly', 'a.txt'), 'text');
    chmodSync(cwd, 0o755);
    chmodSync(join(cwd, 'partly', 'locked'), 0);
    // The superuser reads everything.
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) process.seteuid?.(65_534);
    try {
      for (const text of ['partly', 'partly/**/*.txt']) {
        expect(await refusal(read(text))).toMatch(/the folder .*locked.* cannot be read \(permission denied \(EACCES/);
      }
      expect((await read('partly/*.txt')).text).toBe('text');
    } finally {
      if (isRoot) process.seteuid?.(0);
      chmodSync(join(cwd, 'partly', 'locked'), 0o755);
    }
  });

  it('reads folders with links in a circle, each file once', async () => {
    mkdirSync(join(cwd, 'circle', 'deep'), { recursive: true });
    writeFileSync(join(cwd, 'circle', 'a.txt'), 'text');
    for (const name of ['one', 'two', 'three']) symlinkSync('..', join(cwd, 'circle', 'deep', name));
    symlinkSync('self', join(cwd, 'circle', 'self'));
    symlinkSync('nowhere', join(cwd, 'circle', 'broken'));
    expect(await read('circle')).toMatchObject({ text: 'text', fileCount: 1 });
    expect(await refusal(read('circle/self'))).toContain(
      'circle/self cannot be read (its links lead back to themselves (ELOOP)',
    );
  });

  it('has Tiny Shakespeare built in, to the byte', async () => {
    const { text, name } = await read('builtin');
    expect(name).toBe('builtin');
    expect(createHash('sha256').update(text).digest('hex')).toBe(
      '86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed',
    );
  });

  it('refuses what is missing, empty or not text, and says what to do', async () => {
    expect(await refusal(read('no.txt'))).toBe(
      `data.text: there is no file or folder no.txt in ${cwd}. Name your text with data.text=PATH (a file, folder or glob); the built-in text, called builtin, is always there.`,
    );
    expect(await refusal(readCorpus({ text: 'no.txt', cwd, setting: '--data' }))).toContain(
      '--data: there is no file or folder no.txt',
    );
    expect(await refusal(read('no/*.txt'))).toContain('no file matches no/*.txt');
    expect(await refusal(read('empty.txt'))).toBe('data.text: empty.txt is empty. Give a file with text in it.');
    expect(await refusal(read('header.csv'))).toBe(
      'data.text: header.csv has a header and no rows. Give a table with text in it.',
    );
    expect(await refusal(read('textless.csv'))).toBe(
      'data.text: textless.csv has documents, but no text in their text. Name another field with data.field.',
    );
    expect(await refusal(read(['empty.txt', 'corpus/empty.txt']))).toContain('all of empty.txt, corpus/empty.txt');
    expect(await refusal(read('nothing'))).toContain('the folder nothing has no files');
    expect(await refusal(read('binary.txt'))).toContain('binary.txt: expected text, received a zero byte at offset 2');
    expect(await refusal(read('mixed'))).toContain('mixed/b.png: expected text, received a zero byte');
    expect(await refusal(read('latin1.txt'))).toContain(
      'latin1.txt: expected text in UTF-8, received bytes that are not, at offset ',
    );
    expect(await refusal(read('/dev/null'))).toContain('is neither');
    expect(await refusal(read('letters.txt/x'))).toContain('there is no file or folder');
    expect(await refusal(read('x'.repeat(5000)))).toContain('there is no file or folder');
    expect(await refusal(read('a\0b'))).toContain('expected a path without a zero byte');
  });

  it('ends on a folder that contains itself, and names a link to nothing', async () => {
    mkdirSync(join(cwd, 'loop'));
    writeFileSync(join(cwd, 'loop', 'a.txt'), 'once');
    symlinkSync('.', join(cwd, 'loop', 'again'));
    expect((await read('loop/a.txt')).text).toBe('once');
    expect((await read('loop')).text).toBe('once');
    symlinkSync('gone.txt', join(cwd, 'dangling.txt'));
    expect(await refusal(read('dangling.txt'))).toContain('there is no file or folder dangling.txt');
  });
});

describe('a text in any format', () => {
  it('is read as what it is: JSON lines, arrays, tables, compressed, each document on a line of its own', async () => {
    mkdirSync(join(cwd, 'formats'));
    const put = (name: string, content: string | Uint8Array) => writeFileSync(join(cwd, 'formats', name), content);
    put('a.json.gz', gzipSync('{"text":"one"}\n{"text":"two"}\n'));
    put('b.json', '[{"text":"three"}]');
    put('b2.json', '\n["3a",\n "3b"]\n');
    put('c.csv', 'n,text\n1,"four\n"\n2,five\n');
    put('d.txt.gz', gzipSync('six'));
    put(
      'e.parquet',
      new Uint8Array(parquetWriteBuffer({ columnData: [{ name: 'text', data: ['seven'], type: 'STRING' }] })),
    );
    expect(await read('formats')).toMatchObject({
      text: 'one\ntwo\nthree\n3a\n3b\nfour\nfive\nsix\nseven',
      name: 'formats (6 files)',
    });
    expect((await readCorpus({ text: 'formats/b.json', cwd, format: 'text' })).text).toBe('[{"text":"three"}]');
  });

  it('has the field that is named, and says how to name it', async () => {
    writeFileSync(join(cwd, 'reviews.tsv'), 'stars\treview\n5\tgood\n');
    expect((await readCorpus({ text: 'reviews.tsv', cwd, field: 'review' })).text).toBe('good');
    expect(await refusal(read('reviews.tsv'))).toMatch(/received "stars", "review": name one with data\.field$/);
    writeFileSync(join(cwd, 'long.csv'), `stars\n${'five\n'.repeat(2 ** 20)}`);
    expect(await refusal(read('long.csv'))).toContain('received "stars": name one with data.field');
    const open = () => readdirSync('/proc/self/fd').map((fd) => pathOf(`/proc/self/fd/${fd}`));
    await vi.waitFor(() => expect(open()).not.toContain(join(cwd, 'long.csv')));
    expect(await refusal(readCorpus({ text: 'corpus', cwd, field: 'review' }))).toMatch(
      /^data\.field=review: the sources are read as text/,
    );
    const forCommand = readCorpus({ text: 'corpus', cwd, field: 'review', setting: '--data' });
    expect(await refusal(forCommand)).toMatch(/^--field review: .* as in --format jsonl/);
  });

  it('loses the CR of CRLF with a notice, or keeps it', async () => {
    writeFileSync(join(cwd, 'dos.txt'), 'a\r\nb\rc\r\n');
    const notices: string[] = [];
    const onNotice = (line: string) => notices.push(line);
    expect((await readCorpus({ text: 'dos.txt', cwd, onNotice })).text).toBe('a\nb\rc\n');
    expect(notices).toEqual(['2 line ends were CRLF and became LF; data.lineEndings=keep leaves them as they are']);
    expect((await readCorpus({ text: 'dos.txt', cwd, lineEndings: 'keep', onNotice })).text).toBe('a\r\nb\rc\r\n');
    expect(notices).toHaveLength(1);
    const counted = await openDataset(
      { text: 'dos.txt', tokenizer: 'char', valFraction: 0, validation: 'dos.txt' },
      { cwd },
    );
    expect(counted.normalised).toBe(4);
  });

  it('says of what prepare made that it is not text', async () => {
    mkdirSync(join(cwd, 'made'));
    writeFileSync(join(cwd, 'made', 'progress.json'), '{}');
    expect(await refusal(open({ text: 'made' }))).toContain(
      'received made, which `npx lockstep prepare` made: data.shards=made trains on it',
    );
  });
});

describe('validation data of its own', () => {
  const textOf = ({ tokenizer }: { tokenizer: Tokenizer }, split: TokenSequence) =>
    tokenizer.decode(split.subarray(0, split.length));

  it('is used in full, while all of the text is for training', async () => {
    writeFileSync(join(cwd, 'val.csv'), 'text\nxyz\n');
    const dataset = await open({ validation: 'val.csv' });
    expect(textOf(dataset, dataset.train)).toBe('abcdefghij'.repeat(100));
    expect(textOf(dataset, dataset.val)).toBe('xyz');
    expect(dataset.description).toMatch(/1,000 tokens to train on, 3 to validate \(val\.csv\)$/);
    const hashes = [await open({}), dataset, await open({ validation: 'corpus/a.txt' })].map(({ sha256 }) => sha256);
    expect(new Set(hashes).size).toBe(3);
    mkdirSync(join(cwd, 'madeToo'));
    writeFileSync(join(cwd, 'madeToo', 'progress.json'), '{}');
    expect(await refusal(open({ validation: ['val.csv', 'madeToo'] }))).toBe(
      'data.validation: expected texts alone, or folders alone that `npx lockstep prepare` made, received the text val.csv and the folder madeToo. Prepare all of them with the same --tokenizer, or none.',
    );
    expect(await refusal(open({ validation: 'no.txt' }))).toMatch(
      /^data\.validation: there is no file .*with data\.validation=PATH/,
    );
  });

  it('is not needed where nothing is validated', async () => {
    expect(await refusal(open({ valFraction: 0 }))).toMatch(
      /validation needs at least 2\. .*data\.validation.*eval\.everySteps=0/,
    );
    const options = { blockSize: 8, cwd, validates: false };
    const dataset = await openDataset({ text: 'letters.txt', tokenizer: 'char', valFraction: 0 }, options);
    expect([dataset.train.length, dataset.val.length]).toEqual([1000, 0]);
  });
});

describe('openDataset', () => {
  it('splits by characters, the first to train', async () => {
    const { train, val, tokenizer, vocabSize, description } = await open({ valFraction: 0.25 });
    expect(train).toHaveLength(750);
    expect(val).toHaveLength(250);
    const textOf = (split: TokenSequence) => tokenizer.decode(split.subarray(0, split.length));
    expect(textOf(train) + textOf(val)).toBe('abcdefghij'.repeat(100));
    expect(vocabSize).toBe(10);
    expect(description).toBe(
      'letters.txt: 1,000 characters, char tokenizer with 10 tokens, 750 tokens to train on, 250 to validate',
    );
  });

  it('does not cut a character in two', async () => {
    writeFileSync(join(cwd, 'emoji.txt'), '😀'.repeat(101));
    const { train, val } = await open({ text: 'emoji.txt', valFraction: 0.5 });
    expect(train.length + val.length).toBe(101);
  });

  it('hashes the tokens: the same for the same text, another for another text, split or tokenizer', async () => {
    writeFileSync(join(cwd, 'changed.txt'), `${'abcdefghij'.repeat(99)}abcdefghia`);
    const [same, again, changed, split, gpt2] = await Promise.all([
      open({}),
      open({}),
      open({ text: 'changed.txt' }),
      open({ valFraction: 0.2 }),
      open({ tokenizer: 'gpt2' }),
    ]);
    expect(same.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(again.sha256).toBe(same.sha256);
    expect(again.tokenizerSha256).toBe(same.tokenizerSha256);
    expect(new Set([same, changed, split, gpt2].map(({ sha256 }) => sha256)).size).toBe(4);
    expect(changed.tokenizerSha256).toBe(same.tokenizerSha256);
    expect(gpt2.tokenizerSha256).not.toBe(same.tokenizerSha256);
  });

  it('encodes with the tokenizer of a checkpoint, and names what that does not know', async () => {
    const data = { text: 'letters.txt', tokenizer: 'char', valFraction: 0.1 } as const;
    const larger = await createTokenizer('char', 'abcdefghijklm');
    const { vocabSize } = await openDataset(data, { blockSize: 8, cwd, tokenizer: larger });
    expect(vocabSize).toBe(13);
    const smaller = await createTokenizer('char', 'abcdefghi');
    expect(await refusal(openDataset(data, { blockSize: 8, cwd, tokenizer: smaller }))).toContain('"j" (U+006A)');
  });

  it('takes a padded vocabulary, but none that is smaller than the tokenizer', async () => {
    const data = { text: 'letters.txt', tokenizer: 'char', valFraction: 0.1 } as const;
    expect((await openDataset(data, { blockSize: 8, cwd, vocabSize: 64 })).vocabSize).toBe(64);
    expect((await openDataset(data, { blockSize: 8, cwd, vocabSize: 0 })).vocabSize).toBe(10);
    expect(await refusal(openDataset(data, { blockSize: 8, cwd, vocabSize: 9 }))).toBe(
      'model.vocabSize: expected 0 or at least 10, the size of the char tokenizer, received 9.',
    );
  });

  it('refuses a text that is too short for one window, with the numbers', async () => {
    expect((await open({}, 899)).train).toHaveLength(900);
    expect(await refusal(open({}, 900))).toContain(
      'data.text is too short: the text (letters.txt) has 1,000 characters, which give 900 tokens to train on and 100 to validate (data.valFraction: 0.1), but model.blockSize: 900 needs at least 901 tokens',
    );
    expect(await refusal(open({ valFraction: 0.001 }))).toContain('validation needs at least 2');
  });

  it('reports progress on long texts', async () => {
    writeFileSync(join(cwd, 'long.txt'), 'abcdefghi\n'.repeat(400_000));
    const seen: number[] = [];
    await openDataset(
      { text: 'long.txt', tokenizer: 'gpt2', valFraction: 0.1 },
      { blockSize: 8, cwd, onProgress: (done) => seen.push(done) },
    );
    expect(seen.length).toBeGreaterThan(1);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.every((done) => done > 0 && done <= 1)).toBe(true);
  });

  it("has nanoGPT's split of tiny shakespeare", async () => {
    const { train, val, vocabSize } = await open({ text: 'builtin' });
    expect([train.length, val.length, vocabSize]).toEqual([1_003_854, 111_540, 65]);
  });
});

it('takes a text of any length where nobody trains on it', async () => {
  expect(await refusal(openShort(8))).toContain('data.text is too short');
  const { train, val } = await openShort();
  expect([train.length, val.length]).toEqual([5, 0]);
});
