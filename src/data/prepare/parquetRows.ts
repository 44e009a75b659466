/** The rows of a Parquet file, row group by row group. A group's columns are in memory as units, because each is compressed as one. */
import { open } from 'node:fs/promises';
import {
  type AsyncBuffer,
  type Compressors,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from 'hyparquet';
import { invariant, messageOf, PeerError, UserError } from '../../base/errors.ts';
import { readFailure } from '../../base/strictJson.ts';
import { readFully } from '../../base/wholeFiles.ts';
import { damagedSource } from './damagedSource.ts';
import type { Fields } from './fields.ts';
import type { Source } from './source.ts';

export interface TableRows {
  readonly cells: readonly unknown[];
  /** Counted from 0. */
  readonly firstRow: number;
  /** Approximate size of the text in bytes. */
  readonly size: number;
}

export interface TableOptions extends Pick<Fields, 'field' | 'fieldSetting'> {
  readonly onRead: (bytes: number) => void;
}

/**
 * The cells from row `from` on, in blocks of about `blockBytes`.
 * @throws UserError for a file that is missing or damaged, or lacks the column
 */
export async function* tableRows(
  source: Source,
  from: number,
  blockBytes: number,
  { field, fieldSetting, onRead }: TableOptions,
): AsyncGenerator<TableRows> {
  const check = (metadata: FileMetaData) => checkColumn(metadata, { field, fieldSetting }, source.name);
  for await (const { rows, firstRow } of rowGroups(source, { from, columns: [field], check, onRead })) {
    yield* blocksOf(
      rows.map((row) => row[field] as unknown),
      firstRow,
      blockBytes,
    );
  }
}

/** A row of a table, by column. */
export interface TableObject {
  readonly row: Readonly<Record<string, unknown>>;
  /** Counted from 1. */
  readonly number: number;
  /** Approximate size of its text. */
  readonly bytes: number;
}

/**
 * Every row, with all columns. Whole numbers of 64 bits become numbers if these represent them exactly, otherwise text.
 * @throws UserError for a file that is missing or damaged
 */
export async function* parquetObjects(source: Source): AsyncGenerator<TableObject> {
  for await (const { rows, firstRow } of rowGroups(source, { from: 0 })) {
    for (const [i, cells] of rows.entries()) {
      const row = Object.fromEntries(Object.entries(cells).map(([name, cell]) => [name, withoutBigInts(cell)]));
      yield { row, number: firstRow + i + 1, bytes: JSON.stringify(row).length };
    }
  }
}

function withoutBigInts(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (Array.isArray(value)) return value.map(withoutBigInts);
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, withoutBigInts(part)]));
}

interface RowGroupOptions {
  /** The first row, counted from 0. */
  readonly from: number;
  /** Default: all. */
  readonly columns?: string[];
  readonly check?: (metadata: FileMetaData) => void;
  readonly onRead?: (bytes: number) => void;
}

async function* rowGroups(
  { path, name, size }: Source,
  { from, columns, check, onRead = () => undefined }: RowGroupOptions,
): AsyncGenerator<{ rows: Record<string, unknown>[]; firstRow: number }> {
  invariant(path !== undefined, 'a table is a file');
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw readFailure(name, error);
  });
  try {
    const file: AsyncBuffer = {
      byteLength: size,
      async slice(start, end = size) {
        const bytes = new Uint8Array(end - start);
        await readFully(handle, bytes, start, name);
        return bytes.buffer;
      },
    };
    const metadata = await parquetMetadataAsync(file).catch((error: unknown) => {
      throw damagedTable(name, 'its end, which says where the rows are, is missing or damaged', error);
    });
    check?.(metadata);
    const compressors = await compressorsFor(metadata);
    let firstRow = 0;
    for (const group of metadata.row_groups) {
      const rowEnd = firstRow + Number(group.num_rows);
      onRead(size / metadata.row_groups.length);
      if (rowEnd > from) {
        const rowStart = Math.max(from, firstRow);
        const rows = await parquetReadObjects({
          file,
          metadata,
          rowStart,
          rowEnd,
          ...(columns && { columns }),
          ...(compressors && { compressors }),
        }).catch((error: unknown) => {
          throw damagedTable(name, `its rows ${firstRow + 1} to ${rowEnd} cannot be decoded`, error);
        });
        yield { rows, firstRow: rowStart };
      }
      firstRow = rowEnd;
    }
  } finally {
    await handle.close();
  }
}

function* blocksOf(cells: readonly unknown[], firstRow: number, blockBytes: number): Generator<TableRows> {
  let start = 0;
  let size = 0;
  for (const [i, cell] of cells.entries()) {
    size += typeof cell === 'string' ? cell.length : 0;
    if (size < blockBytes && i + 1 < cells.length) continue;
    yield { cells: cells.slice(start, i + 1), firstRow: firstRow + start, size };
    start = i + 1;
    size = 0;
  }
}

function checkColumn(
  metadata: FileMetaData,
  { field, fieldSetting }: Pick<Fields, 'field' | 'fieldSetting'>,
  name: string,
): void {
  const columns = parquetSchema(metadata).children.map(({ element }) => element.name);
  if (columns.includes(field)) return;
  throw new UserError(
    `${name}: expected a column ${field}, received ${columns.join(', ')}: name one with ${fieldSetting}`,
  );
}

function damagedTable(name: string, but: string, error: unknown): Error {
  if (error instanceof UserError || error instanceof PeerError) return error;
  const [, feature] = /unsupported (.*)/.exec(messageOf(error)) ?? [];
  if (feature === undefined) return damagedSource(name, 'Parquet data', but, error);
  return new UserError(
    `${name}: this Parquet file has a ${feature}, which cannot be read here. Write it again with the codec zstd or snappy`,
    { cause: error },
  );
}

/**
 * Loads the decompressors only for a file that needs them: their WebAssembly reserves gigabytes of address space, which a limit
 * (`ulimit -v`) may forbid. Undefined if nothing is compressed.
 */
async function compressorsFor({ row_groups: groups }: FileMetaData): Promise<Compressors | undefined> {
  const isCompressed = groups.some(({ columns }) =>
    columns.some(({ meta_data: column }) => column !== undefined && column.codec !== 'UNCOMPRESSED'),
  );
  return isCompressed ? (await import('hyparquet-compressors')).compressors : undefined;
}
