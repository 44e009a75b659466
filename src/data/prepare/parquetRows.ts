/** One column of a Parquet file, row group by row group. A group's column is in memory as a unit, because it is compressed as one. */
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
  const { path, name, size } = source;
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
    checkColumn(metadata, { field, fieldSetting }, name);
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
          columns: [field],
          rowStart,
          rowEnd,
          ...(compressors && { compressors }),
        }).catch((error: unknown) => {
          throw damagedTable(name, `its rows ${firstRow + 1} to ${rowEnd} cannot be decoded`, error);
        });
        yield* blocksOf(
          rows.map((row) => row[field] as unknown),
          rowStart,
          blockBytes,
        );
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
    `${name}: expected a column ${field}, found ${columns.join(', ')}: name one with ${fieldSetting}`,
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
