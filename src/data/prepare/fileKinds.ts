/**
 * What a file is, by its name and by how its content begins. Pure: the reader of the beginning is sources.ts. Where name and content
 * disagree the content decides if it can be read, and a notice or an error says so.
 */
import { UserError } from '../../base/errors.ts';
import { shellWord } from '../../base/shellWord.ts';

/** `jsonl`: a JSON object in each line; `json`: one array of objects; `csv` and `tsv`: a table whose first row names the columns. */
export type SourceFormat = 'text' | 'jsonl' | 'json' | 'csv' | 'tsv' | 'parquet';
export const sourceFormats = ['text', 'jsonl', 'json', 'csv', 'tsv', 'parquet'] as const satisfies SourceFormat[];
export type Compression = 'none' | 'gzip' | 'zstd';

/** What the name says: `json` may be lines, an array or neither. */
export interface NamedKind {
  /** Undefined where the ending of the name says nothing. */
  readonly format: SourceFormat | undefined;
  readonly compression: Compression;
}

export interface FileKind {
  readonly format: SourceFormat;
  readonly compression: Compression;
  /** What a user should hear: the name says another thing than the content. */
  readonly notice?: string;
}

const formatOfEnding: Readonly<Record<string, SourceFormat>> = {
  jsonl: 'jsonl',
  ndjson: 'jsonl',
  json: 'json',
  csv: 'csv',
  tsv: 'tsv',
  tab: 'tsv',
  parquet: 'parquet',
};

/** By the endings of the name: `.json.gz` is JSON in gzip. */
export function kindOfName(name: string): NamedKind {
  const [, stem = name, suffix] = /^(.*?)(?:\.(gz|gzip|zst|zstd))?$/is.exec(name) ?? [];
  const compression = suffix === undefined ? 'none' : suffix.toLowerCase().startsWith('g') ? 'gzip' : 'zstd';
  const ending = /\.([a-z]+)$/i.exec(stem)?.[1]?.toLowerCase() ?? '';
  return { format: formatOfEnding[ending], compression };
}

/** By the first bytes; `none` where they are of no compression that can be read. */
export function compressionOf(head: Uint8Array): Compression {
  if (startsWith(head, '1f8b')) return 'gzip';
  // A skippable frame, with which pzstd and seekable files begin, is zstd too.
  const isSkippable = head.length >= 4 && head[0]! >> 4 === 5 && startsWith(head.subarray(1), '2a4d18');
  return isSkippable || startsWith(head, '28b52ffd') ? 'zstd' : 'none';
}

export interface KnownOf {
  /** For messages. */
  readonly name: string;
  /** What the user says that it is. */
  readonly format?: SourceFormat | undefined;
  /** How the stored bytes begin. */
  readonly stored: Uint8Array;
  /** How they begin when they are decompressed. */
  readonly head: Uint8Array;
  /** Whether the head is all there is. */
  readonly isAll: boolean;
}

/** @throws UserError for what is of a kind that cannot be read, with the command that makes text of it */
export function recognise({ name, format, stored, head, isAll }: KnownOf): FileKind {
  const named = kindOfName(name);
  const found = compressionOf(stored);
  const compression = found === 'none' ? named.compression : found;
  const problem = unreadable(name, head);
  if (problem !== undefined) throw new UserError(problem);
  const notices: string[] = [];
  if (found !== 'none' && found !== named.compression) notices.push(`its content is compressed with ${found}`);
  const isTable = startsWith(head, '50415231');
  if (compression !== 'none' && (isTable || (format ?? named.format) === 'parquet')) {
    throw new UserError(`${name}: a Parquet file is compressed inside; decompress this one first`);
  }
  const documents = jsonDocuments(head, isAll);
  const isEmpty = isAll && head.length === 0;
  const decided = decide({ format, named: named.format, isTable, documents, isEmpty });
  if (decided.notice !== undefined) notices.push(decided.notice);
  return {
    format: decided.format,
    compression,
    ...(notices.length > 0 && { notice: `${name}: ${notices.join(', and ')}` }),
  };
}

interface Evidence {
  readonly format: SourceFormat | undefined;
  readonly named: SourceFormat | undefined;
  readonly isTable: boolean;
  readonly documents: 'jsonl' | 'json' | undefined;
  readonly isEmpty: boolean;
}

function decide({ format, named, isTable, documents, isEmpty }: Evidence): { format: SourceFormat; notice?: string } {
  // Of the two forms of JSON the content tells which it is.
  if (format === 'jsonl' || format === 'json') return { format: documents ?? format };
  if (format !== undefined) return { format };
  if (isTable && named !== 'parquet') return { format: 'parquet', notice: 'its content is a Parquet file' };
  if (named === 'jsonl') return { format: documents ?? named };
  if (named === 'json') {
    if (documents !== undefined || isEmpty) return { format: documents ?? 'jsonl' };
    return { format: 'text', notice: 'it is neither JSON lines nor an array of objects, so it is read as text' };
  }
  if (named !== undefined) return { format: named };
  if (documents === undefined) return { format: 'text' };
  return {
    format: 'text',
    notice: `it is read as text but looks like JSON (--format ${documents} reads a field of it)`,
  };
}

/** Whether bytes begin as documents in JSON do: with a line that is an object, or an array of objects. */
export function jsonDocuments(head: Uint8Array, isAll: boolean): 'jsonl' | 'json' | undefined {
  const text = Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString().trimStart();
  if (/^\[\s*(\{|\]\s*$)/.test(text)) return 'json';
  if (!/^\{\s*("|\})/.test(text)) return undefined;
  const end = text.indexOf('\n');
  // A line longer than what is known of it: nobody writes such an object over several.
  if (end < 0 && !isAll) return 'jsonl';
  try {
    JSON.parse(text.slice(0, end < 0 ? undefined : end));
    return 'jsonl';
  } catch {
    return undefined;
  }
}

/** Kinds of file that many have and nothing here reads: how they begin, what they are, and what makes text of one. */
const unreadableKinds: readonly (readonly [
  begins: string,
  what: string,
  cure: (file: string, stem: string) => string,
])[] = [
  ['425a68', 'a bzip2 file', (file, stem) => `bzcat ${file} > ${stem}`],
  ['fd377a585a00', 'an xz file', (file, stem) => `xzcat ${file} > ${stem}`],
  ['04224d18', 'an lz4 file', (file, stem) => `lz4cat ${file} > ${stem}`],
  ['504b0304', 'a zip archive', (file, stem) => `unzip ${file} -d ${stem}`],
  ['377abcaf271c', 'a 7z archive', (file, stem) => `7z x ${file} -o${stem}`],
  ['526172211a07', 'a rar archive', (file, stem) => `unrar x ${file} ${stem}/`],
  ['255044462d', 'a PDF file', (file, stem) => `pdftotext ${file} ${stem}.txt`],
  ['fffe', 'text in UTF-16', (file, stem) => `iconv -f UTF-16 -t UTF-8 ${file} > ${stem}.utf8.txt`],
  ['feff', 'text in UTF-16', (file, stem) => `iconv -f UTF-16 -t UTF-8 ${file} > ${stem}.utf8.txt`],
];
/** Office documents and books are zip archives, of which their text can be had. */
const packedDocument = /\.(docx|odt|epub)$/i;
const tarMagicAt = 257;

/** What is wrong with a file of such a kind, and the command that helps; undefined for all others. */
function unreadable(name: string, head: Uint8Array): string | undefined {
  const file = shellWord(name);
  const stem = shellWord(name.replace(/(?<=[^/])\.[^./]+$/, ''));
  const told = (what: string, command: string): string =>
    `${name}: expected text, found ${what}. Make text of it with \`${command}\``;
  const [, what, cure] = unreadableKinds.find(([begins]) => startsWith(head, begins)) ?? [];
  if (what !== undefined && cure !== undefined && isCertain(what, head)) {
    if (!packedDocument.test(name)) return told(what, cure(file, stem));
    return told('a document of a word processor', `pandoc ${file} -t plain -o ${stem}.txt`);
  }
  if (!startsWith(head.subarray(tarMagicAt), '7573746172')) return undefined;
  return told('a tar archive', `mkdir ${stem} && tar xf ${file} -C ${stem}`);
}

/** `BZh` begins words too; of a bzip2 file a digit and the digits of pi follow. */
function isCertain(what: string, head: Uint8Array): boolean {
  return what !== 'a bzip2 file' || startsWith(head.subarray(4), '314159265359');
}

function startsWith(bytes: Uint8Array, hex: string): boolean {
  const wanted = Buffer.from(hex, 'hex');
  return bytes.length >= wanted.length && wanted.equals(bytes.subarray(0, wanted.length));
}
