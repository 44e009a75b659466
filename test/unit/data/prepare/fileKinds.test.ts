/** What a file is, by its name, the user's word and its content, where the three disagree. */
import { expect, it } from 'vitest';
import { UserError } from '../../../../src/base/errors.ts';
import { compressionOf, recognise, type SourceFormat } from '../../../../src/data/prepare/fileKinds.ts';

const kind = (name: string, content: string | Uint8Array, format?: SourceFormat) => {
  const bytes = Buffer.from(content);
  const { notice, ...found } = recognise({ name, format, stored: bytes, head: bytes, isAll: true });
  return { ...found, notice: notice ?? '' };
};

it.each<[string, string, SourceFormat | undefined, SourceFormat, RegExp]>([
  ['a.txt', 'words', undefined, 'text', /^$/],
  ['a.jsonl', '{"text":"a"}\n', undefined, 'jsonl', /^$/],
  ['a.json', '\ufeff\n{"text":"a"}\n{"text":"b"}\n', undefined, 'jsonl', /^$/],
  ['a.json', '{}\n', undefined, 'jsonl', /^$/],
  ['a.json', ' [\n  {"text":"a"}]', undefined, 'json', /^$/],
  ['a.jsonl', '[{"text":"a"}]', undefined, 'json', /^$/],
  ['a.json', '[]', undefined, 'json', /^$/],
  ['a.json', '', undefined, 'jsonl', /^$/],
  ['a.json', '{\n  "name": "a"\n}\n', undefined, 'text', /neither JSON lines nor an array of objects or strings/],
  ['a.json', '\ufeff [\n"a", "b"]', undefined, 'json', /^$/],
  ['a.txt', '["a"]', 'jsonl', 'json', /^$/],
  ['a.txt', '["a"]', undefined, 'text', /^$/],
  ['a.json', '[1, 2]', undefined, 'text', /neither JSON lines/],
  ['a.json', '{"text":"a"}', 'text', 'text', /^$/],
  ['a.json', 'words', 'jsonl', 'jsonl', /^$/],
  ['a.txt', '[{"text":"a"}]', 'jsonl', 'json', /^$/],
  ['a.txt', '{"text":"a"}\n{"text":"b"}\n', undefined, 'text', /looks like JSON \(--format jsonl/],
  ['a.c', '{ "a", "b" }', undefined, 'text', /^$/],
  ['A.CSV', 'text\na\n', undefined, 'csv', /^$/],
  ['a.tsv', 'text\na\n', undefined, 'tsv', /^$/],
  ['a.csv', 'text\na\n', 'text', 'text', /^$/],
  ['a.bin', 'PAR1', undefined, 'parquet', /its content is a Parquet file/],
  ['a.parquet', 'PAR1', undefined, 'parquet', /^$/],
])('%s with %j, said to be %s, is %s', (name, content, said, format, notice) => {
  expect(kind(name, content, said)).toEqual({ format, compression: 'none', notice: expect.stringMatching(notice) });
});

it('takes a line that is longer than what is known of it for a line', () => {
  const head = Buffer.from('{"text":"a long document ');
  expect(recognise({ name: 'a.json', stored: head, head, isAll: false }).format).toBe('jsonl');
  expect(recognise({ name: 'a.json', stored: head, head, isAll: true }).format).toBe('text');
});

it('knows compressed content whatever the name, skippable frames included', () => {
  expect(compressionOf(Buffer.from([0x1f, 0x8b]))).toBe('gzip');
  expect(compressionOf(Buffer.from([0x28, 0xb5, 0x2f, 0xfd]))).toBe('zstd');
  for (let low = 0x50; low <= 0x5f; low++) expect(compressionOf(Buffer.from([low, 0x2a, 0x4d, 0x18]))).toBe('zstd');
  expect(compressionOf(Buffer.from('P*M'))).toBe('none');
  const gzip = { stored: Buffer.from([0x1f, 0x8b, 8]), head: Buffer.from('{"text":"a"}\n'), isAll: true };
  expect(recognise({ name: 'a.json.gz', ...gzip })).toEqual({ format: 'jsonl', compression: 'gzip' });
  expect(recognise({ name: 'a.json', ...gzip })).toEqual({
    format: 'jsonl',
    compression: 'gzip',
    notice: 'a.json: its content is compressed with gzip',
  });
});

it.each<[string, string, string, string]>([
  ['a text.bz2', '425a6839314159265359', 'a bzip2 file', "bzcat 'a text.bz2' > 'a text'"],
  ['a.xz', 'fd377a585a00', 'an xz file', 'xzcat a.xz > a'],
  ['a.lz4', '04224d18', 'an lz4 file', 'lz4cat a.lz4 > a'],
  ['a.zip', '504b0304', 'a zip archive', 'unzip a.zip -d a'],
  ['a.docx', '504b0304', 'a document of a word processor', 'pandoc a.docx -t plain -o a.txt'],
  ['a.7z', '377abcaf271c', 'a 7z archive', '7z x a.7z -oa'],
  ['a.rar', '526172211a0701', 'a rar archive', 'unrar x a.rar a/'],
  ['a.pdf', '255044462d312e37', 'a PDF file', 'pdftotext a.pdf a.txt'],
  ['a.csv', 'fffe6100', 'text in UTF-16', 'iconv -f UTF-16 -t UTF-8 a.csv > a.utf8.csv'],
  ['a', 'feff0061', 'text in UTF-16', 'iconv -f UTF-16 -t UTF-8 a > a.utf8.txt'],
  ['a.tar', `${'00'.repeat(257)}7573746172`, 'a tar archive', 'mkdir a && tar xf a.tar -C a'],
])('refuses %s, and names the command that makes text of it', (name, hex, what, command) => {
  const bytes = Buffer.from(hex, 'hex');
  const read = () => recognise({ name, stored: bytes, head: bytes, isAll: true });
  expect(read).toThrow(UserError);
  expect(read).toThrow(`${name}: expected text, received ${what}. Make text of it with \`${command}\``);
});

it('of a spreadsheet says how to save it', () => {
  const bytes = Buffer.from('504b0304', 'hex');
  expect(() => recognise({ name: 'a.xlsx', stored: bytes, head: bytes, isAll: true })).toThrow(
    'a.xlsx: expected text, received a spreadsheet. Save it as CSV in UTF-8',
  );
});

it('takes a word that begins as bzip2 does for a word', () => {
  expect(kind('a.txt', 'BZhang wrote this').format).toBe('text');
});
