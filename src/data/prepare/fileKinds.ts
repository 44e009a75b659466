/**
 * Determines a file's format from its name and the beginning of its content. Pure: sources.ts reads the beginning. If name and content
 * disagree, readable content decides, and a notice or an error says so.
 */
import { UserError } from '../../base/errors.ts';
import { shellWord } from '../../base/shellWord.ts';

/** `jsonl`: a JSON object in each line; `json`: one array of objects or of strings; `csv` and `tsv`: a table whose first row names the columns. */
export type SourceFormat = 'text' | 'jsonl' | 'json' | 'csv' | 'tsv' | 'parquet';
export const sourceFormats = ['text', 'jsonl', 'json', 'csv', 'tsv', 'parquet'] as const satisfies SourceFormat[];
export type Compression = 'none' | 'gzip' | 'zstd';

/** The format that the name implies: `json` may be lines, an array or neither. */
export interface NamedKind {
  /** Undefined if the name's extension implies nothing. */
  readonly format: SourceFormat | undefined;
  readonly compression: Compression;
}

export interface FileKind {
  readonly format: SourceFormat;
  readonly compression: Compression;
  /** A notice for the user: the name contradicts the content. */
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

/** Determined from the name's extensions: `.json.gz` is JSON in gzip. */
export function kindOfName(name: string): NamedKind {
  const [, stem = name, suffix] = /^(.*?)(?:\.(gz|gzip|zst|zstd))?$/is.exec(name) ?? [];
  const compression = suffix === undefined ? 'none' : suffix.toLowerCase().startsWith('g') ? 'gzip' : 'zstd';
  const ending = /\.([a-z]+)$/i.exec(stem)?.[1]?.toLowerCase() ?? '';
  return { format: formatOfEnding[ending], compression };
}

/** Determined from the first bytes; `none` if they are not a supported compression. */
export function compressionOf(head: Uint8Array): Compression {
  if (startsWith(head, '1f8b')) return 'gzip';
  // A skippable frame, which begins pzstd and seekable files, is zstd too.
  const isSkippable = head.length >= 4 && head[0]! >> 4 === 5 && startsWith(head.subarray(1), '2a4d18');
  return isSkippable || startsWith(head, '28b52ffd') ? 'zstd' : 'none';
}

export interface KnownOf {
  /** The name in messages. */
  readonly name: string;
  /** The format that the user specified. */
  readonly format?: SourceFormat | undefined;
  /** The first stored bytes. */
  readonly stored: Uint8Array;
  /** The first decompressed bytes. */
  readonly head: Uint8Array;
  /** Whether the head is the entire content. */
  readonly isAll: boolean;
}

/** @throws UserError for unsupported formats, with the command that converts them to text */
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
  const decided = decide({
    format,
    named: named.format,
    isTable,
    documents,
    isStringArray: beginsStringArray(head),
    isEmpty,
  });
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
  /** Counts only where the user or the name says that it is JSON: text may begin so too. */
  readonly isStringArray: boolean;
  readonly isEmpty: boolean;
}

function decide({ format, named, isTable, documents: found, isStringArray, isEmpty }: Evidence): {
  format: SourceFormat;
  notice?: string;
} {
  const isJson = [format ?? named].some((each) => each === 'json' || each === 'jsonl');
  const documents = found ?? (isStringArray && isJson ? 'json' : undefined);
  // The content distinguishes the two forms of JSON.
  if (format === 'jsonl' || format === 'json') return { format: documents ?? format };
  if (format !== undefined) return { format };
  if (isTable && named !== 'parquet') return { format: 'parquet', notice: 'its content is a Parquet file' };
  if (named === 'jsonl') return { format: documents ?? named };
  if (named === 'json') {
    if (documents !== undefined || isEmpty) return { format: documents ?? 'jsonl' };
    return {
      format: 'text',
      notice: 'it is neither JSON lines nor an array of objects or strings, so it is read as text',
    };
  }
  if (named !== undefined) return { format: named };
  if (documents === undefined) return { format: 'text' };
  return {
    format: 'text',
    notice: `it is read as text but looks like JSON (--format ${documents} reads a field of it)`,
  };
}

/** Whether bytes begin like documents in JSON: with a line that is an object, or with an array of objects. */
export function jsonDocuments(head: Uint8Array, isAll: boolean): 'jsonl' | 'json' | undefined {
  const text = Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString().trimStart();
  if (/^\[\s*(\{|\]\s*$)/.test(text)) return 'json';
  if (!/^\{\s*("|\})/.test(text)) return undefined;
  const end = text.indexOf('\n');
  // The line is longer than the known bytes. An object over several lines would not have such a long line.
  if (end < 0 && !isAll) return 'jsonl';
  try {
    JSON.parse(text.slice(0, end < 0 ? undefined : end));
    return 'jsonl';
  } catch {
    return undefined;
  }
}

function beginsStringArray(head: Uint8Array): boolean {
  return /^\uFEFF?\s*\[\s*"/.test(
    Buffer.from(head.buffer, head.byteOffset, Math.min(head.byteLength, 1_000)).toString(),
  );
}

/** Common file formats that are not supported: their first bytes, their name, and the command that converts them to text. */
const unreadableKinds: readonly (readonly [
  begins: string,
  what: string,
  cure: (file: string, stem: string, ending: string) => string,
])[] = [
  ['425a68', 'a bzip2 file', (file, stem) => `bzcat ${file} > ${stem}`],
  ['fd377a585a00', 'an xz file', (file, stem) => `xzcat ${file} > ${stem}`],
  ['04224d18', 'an lz4 file', (file, stem) => `lz4cat ${file} > ${stem}`],
  ['504b0304', 'a zip archive', (file, stem) => `unzip ${file} -d ${stem}`],
  ['377abcaf271c', 'a 7z archive', (file, stem) => `7z x ${file} -o${stem}`],
  ['526172211a07', 'a rar archive', (file, stem) => `unrar x ${file} ${stem}/`],
  ['255044462d', 'a PDF file', (file, stem) => `pdftotext ${file} ${stem}.txt`],
  ['fffe', 'text in UTF-16', (file, stem, ending) => `iconv -f UTF-16 -t UTF-8 ${file} > ${stem}.utf8.${ending}`],
  ['feff', 'text in UTF-16', (file, stem, ending) => `iconv -f UTF-16 -t UTF-8 ${file} > ${stem}.utf8.${ending}`],
];
/** Office documents and books are zip archives whose text can be extracted. */
const packedDocument = /\.(docx|odt|epub)$/i;
const packedTable = /\.(xlsx|ods)$/i;
const tarMagicAt = 257;

/** The error for an unsupported format, with the command that helps; undefined for all other files. */
function unreadable(name: string, head: Uint8Array): string | undefined {
  const file = shellWord(name);
  const stem = shellWord(name.replace(/(?<=[^/])\.[^./]+$/, ''));
  const told = (what: string, command: string): string =>
    `${name}: expected text, received ${what}. Make text of it with \`${command}\``;
  const [, what, cure] = unreadableKinds.find(([begins]) => startsWith(head, begins)) ?? [];
  if (what !== undefined && cure !== undefined && isCertain(what, head)) {
    if (packedTable.test(name)) return `${name}: expected text, received a spreadsheet. Save it as CSV in UTF-8`;
    if (!packedDocument.test(name)) return told(what, cure(file, stem, kindOfName(name).format ?? 'txt'));
    return told('a document of a word processor', `pandoc ${file} -t plain -o ${stem}.txt`);
  }
  if (!startsWith(head.subarray(tarMagicAt), '7573746172')) return undefined;
  return told('a tar archive', `mkdir ${stem} && tar xf ${file} -C ${stem}`);
}

/** `BZh` begins words too; in a bzip2 file a digit and the digits of pi follow. */
function isCertain(what: string, head: Uint8Array): boolean {
  return what !== 'a bzip2 file' || startsWith(head.subarray(4), '314159265359');
}

function startsWith(bytes: Uint8Array, hex: string): boolean {
  const wanted = Buffer.from(hex, 'hex');
  return bytes.length >= wanted.length && wanted.equals(bytes.subarray(0, wanted.length));
}
