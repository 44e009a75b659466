/**
 * Reads all text of a run into memory: the built-in text, a file, a folder, a glob, or a list of them, in every format that
 * `launch prepare` reads. It only reads; textDataset.ts splits and encodes. Text that does not fit in memory needs `launch prepare`
 * (prepare/). Every error is a UserError that names the file, the problem and the solution.
 */
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { type LineEndings, normalisedNotice } from './lineEndings.ts';
import { beginning, readChunks } from './prepare/chunks.ts';
import { textsOf } from './prepare/encodeJob.ts';
import type { SourceFormat } from './prepare/fileKinds.ts';
import type { Source } from './prepare/source.ts';
import { checkFieldOptions, findSources } from './prepare/sources.ts';
import { preparedName } from './shards/shardManifest.ts';

/** JavaScript strings end at 2^29 - 24 units. This limit leaves some room, and is an hour of tokens for any CPU. */
const corpusBytesMax = 500_000_000;
const defaultField = 'text';
/** Bytes above it are not white space. */
const space = 0x20;

export interface Corpus {
  readonly text: string;
  /** A description for display: `corpus (87 files)`. */
  readonly name: string;
  readonly fileCount: number;
  /** Number of line ends converted from CRLF to LF. */
  readonly normalised: number;
}

export interface ReadCorpusOptions {
  /** `builtin`, a path, a glob, or a list of them. */
  readonly text: string | readonly string[];
  /** The folder that relative paths start from. */
  readonly cwd: string;
  /** The setting's name in messages. Default `data.text`. */
  readonly setting?: string;
  /** The field of a JSON object, or the column of a table, that contains the text. Default `text`. */
  readonly field?: string | undefined;
  /** The files' format. Default: determined by their names and content. */
  readonly format?: SourceFormat | undefined;
  /** Default `lf`. */
  readonly lineEndings?: LineEndings | undefined;
  /** Called with one-line notices about the files. */
  readonly onNotice?: ((line: string) => void) | undefined;
}

/**
 * Reads each file of `text` once, the files of one entry in path order, and joins them and their documents. Each document
 * begins on a new line.
 */
export async function readCorpus(options: ReadCorpusOptions): Promise<Corpus> {
  const { text, cwd, format, setting = 'data.text', field = defaultField, onNotice = () => undefined } = options;
  const entries = typeof text === 'string' ? [text] : text;
  // A config key or a command-line option.
  const isKey = setting.startsWith('data.');
  const sources = await findSources(entries, { cwd, format, setting, onNotice });
  checkFieldOptions(sources, {
    options: field === defaultField ? [] : [isKey ? `data.field=${field}` : `--field ${field}`],
    formatOption: isKey ? 'data.format' : '--format',
  });
  const reader = new CorpusReader(setting, { ...options, field });
  const parts: string[] = [];
  let fileCount = 0;
  for (const source of sources) {
    const found = await reader.read(source);
    // Empty files are common in source folders; an entirely empty text is an error below.
    if (found.length > 0) fileCount++;
    for (const part of found) parts.push(part);
  }
  if (parts.length === 0) {
    throw new UserError(reader.lacks(quoted(entries), sources));
  }
  if (reader.normalised > 0) onNotice(normalisedNotice(grouped(reader.normalised), 'data.lineEndings=keep'));
  return { text: joined(parts), name: nameOf(entries, fileCount), fileCount, normalised: reader.normalised };
}

/** Reads sources one after another and counts their size. */
class CorpusReader {
  /** Number of line ends that were CRLF. */
  normalised = 0;
  #bytesLeft = corpusBytesMax;
  /** Whether any source had a row, or another kind of document. */
  #hasRows = false;
  readonly #setting: string;
  readonly #options: ReadCorpusOptions & { readonly field: string };

  constructor(setting: string, options: ReadCorpusOptions & { readonly field: string }) {
    this.#setting = setting;
    this.#options = options;
  }

  get #fieldSetting(): string {
    return this.#setting.startsWith('data.') ? 'data.field' : '--field';
  }

  /** The documents of a source, none of them empty. A text is one document. */
  async read(source: Source): Promise<string[]> {
    const { field, lineEndings = 'lf' } = this.#options;
    const fields = {
      field,
      fieldSetting: this.#fieldSetting,
      skipSetting: `\`${ownCommand('prepare', '--skip-bad')}\``,
    };
    const texts: string[] = [];
    for await (const { chunk } of readChunks([source], beginning, { fields, onRead: () => undefined })) {
      const found = textsOf({ chunks: [chunk], fields, skipBad: false, lineEndings });
      this.#hasRows ||=
        chunk.kind === 'rows'
          ? chunk.cells.length > 0
          : chunk.kind === 'lines' && chunk.bytes.some((byte) => byte > space);
      if ('problem' in found) throw new UserError(found.problem);
      this.normalised += found.normalised;
      for (const text of found.texts) {
        texts.push(text);
        // Joining may add a line feed to a document.
        this.#bytesLeft -= Buffer.byteLength(text) + (source.format === 'text' ? 0 : 1);
        if (this.#bytesLeft < 0) throw this.#tooLong(source.name);
      }
    }
    if (source.format !== 'text') return texts;
    const text = texts.join('');
    return text === '' ? [] : [text];
  }

  /** Why nothing was found in any of the sources, which `names` lists. */
  lacks(names: string, sources: readonly Source[]): string {
    const setting = this.#setting;
    if (this.#hasRows) {
      return `${setting}: ${names} has documents, but no text in their ${this.#options.field}. Name another field with ${this.#fieldSetting}.`;
    }
    const isTable = sources.some(({ format, size }) => ['csv', 'tsv', 'parquet'].includes(format) && size > 0);
    return isTable
      ? `${setting}: ${names} has a header and no rows. Give a table with text in it.`
      : `${setting}: ${names} is empty. Give a file with text in it.`;
  }

  #tooLong(name: string): UserError {
    const { field } = this.#options;
    const option = field === defaultField ? [] : ['--field', field];
    const out = preparedName(name);
    return new UserError(
      `${this.#setting}: with ${name} the text has more than ${grouped(corpusBytesMax)} bytes, which is the most that fits in memory. Give less text, ` +
        `or make tokens of it with \`${ownCommand('prepare', name, ...option, '--tokenizer', 'gpt2', '--out', out)}\` and train on them: ` +
        `\`${ownCommand('--set', `data.shards=${out}`)}\`.`,
    );
  }
}

/** Joins without copying a single text, which keeps its exact content. */
function joined(parts: readonly string[]): string {
  return parts.map((part, i) => (i + 1 < parts.length && !part.endsWith('\n') ? `${part}\n` : part)).join('');
}

function quoted(entries: readonly string[]): string {
  return entries.length === 1 ? String(entries[0]) : `all of ${entries.join(', ')}`;
}

function nameOf(entries: readonly string[], fileCount: number): string {
  const shown = entries.length > 3 ? `${entries.slice(0, 3).join(', ')}, ...` : entries.join(', ');
  return fileCount === 1 ? shown : `${shown} (${fileCount} files)`;
}
