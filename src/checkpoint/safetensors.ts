/**
 * The safetensors file format (https://github.com/huggingface/safetensors#format): 8 bytes header length (little-endian),
 * a JSON header `{name: {dtype, shape, data_offsets: [begin, end]}, __metadata__: {string: string}}`, then the tensors.
 * This module reads and writes headers and validates everything in them: bounded length, offsets in range, no overlaps, gaps or
 * duplicate names, and sizes that match dtype and shape. It does not hold tensor data; callers stream it.
 */
import { invariant } from '../base/errors.ts';
import { damaged, parseJsonObject } from '../base/strictJson.ts';
import { openStored } from '../objectStore/storedFiles.ts';

/** Bytes per element of each dtype in the format, except those smaller than a byte. */
const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
} as const;

export type SafetensorsDtype = keyof typeof DTYPE_BYTES;

/** A tensor's name and dimensions. Tensors are always row-major and contiguous. */
export interface TensorShape {
  /** As in the file. */
  readonly name: string;
  /** Outermost first. */
  readonly shape: readonly number[];
}

/** One tensor in a file. `begin` and `end` are byte offsets from the start of the file. */
export interface SafetensorsEntry extends TensorShape {
  readonly dtype: SafetensorsDtype;
  readonly begin: number;
  readonly end: number;
}

/** A validated header. `entries` are in file order and cover everything from `dataStart` to `fileBytes`. */
export interface SafetensorsHeader {
  readonly entries: readonly SafetensorsEntry[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly dataStart: number;
  readonly fileBytes: number;
}

/** Far more than any real model needs (GPT-2 XL: 60 kB), and still cheap to allocate. */
export const HEADER_BYTES_MAX = 16 * 2 ** 20;
const LENGTH_BYTES = 8;
const DIMENSIONS_MAX = 8;

/** Number of elements; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/**
 * Length of the JSON header in bytes, read from the file's first 8 bytes; at most the file's size and {@link HEADER_BYTES_MAX}.
 * @param path names the file in errors
 */
export function headerLength(prefix: Uint8Array, fileBytes: number, path: string): number {
  if (fileBytes < LENGTH_BYTES || prefix.length < LENGTH_BYTES) {
    throw damaged(path, `a safetensors file has at least ${LENGTH_BYTES} bytes, this one has ${fileBytes}`);
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  const limit = Math.min(HEADER_BYTES_MAX, fileBytes - LENGTH_BYTES);
  if (length < 2n || length > BigInt(limit)) {
    throw damaged(path, `its header claims ${length} bytes: expected 2 to ${limit}`);
  }
  return Number(length);
}

/** Validates the JSON header `json` of a file of `fileBytes` bytes. @throws UserError naming `path` and the problem */
export function parseSafetensorsHeader(json: Uint8Array, fileBytes: number, path: string): SafetensorsHeader {
  if (json[0] !== 0x7b) throw damaged(path, 'its header does not begin with "{"');
  const object = parseJsonObject(json, path);
  const dataStart = LENGTH_BYTES + json.length;
  const metadata = Object.hasOwn(object, '__metadata__') ? parseMetadata(object['__metadata__'], path) : {};
  const entries = Object.entries(object)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, value]) => parseEntry(name, value, dataStart, path))
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  let position = dataStart;
  for (const entry of entries) {
    if (entry.begin !== position) {
      const kind = entry.begin < position ? 'overlaps the tensor before it' : 'leaves a gap before it';
      throw damaged(path, `tensor ${JSON.stringify(entry.name)} ${kind}`);
    }
    position = entry.end;
  }
  if (position !== fileBytes) {
    throw damaged(path, `its tensors end at byte ${position}, but the file has ${fileBytes} bytes`);
  }
  return { entries, metadata, dataStart, fileBytes };
}

function parseMetadata(value: unknown, path: string): Record<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw damaged(path, '__metadata__ is not an object');
  }
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw damaged(path, `__metadata__ ${JSON.stringify(key)} is not a string`);
  }
  return value as Record<string, string>;
}

function parseEntry(name: string, value: unknown, dataStart: number, path: string): SafetensorsEntry {
  const which = `tensor ${JSON.stringify(name.slice(0, 200))}`;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw damaged(path, `${which} is not described by an object`);
  }
  const { dtype, shape, data_offsets: offsets, ...others } = value as Record<string, unknown>;
  const unknownKey = Object.keys(others)[0];
  if (unknownKey !== undefined) throw damaged(path, `${which} has the unknown key ${JSON.stringify(unknownKey)}`);
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPE_BYTES, dtype)) {
    throw damaged(path, `${which} has the unknown dtype ${JSON.stringify(dtype)}`);
  }
  if (!isSizes(shape) || shape.length > DIMENSIONS_MAX) throw damaged(path, `${which} has an impossible shape`);
  if (!isSizes(offsets) || offsets.length !== 2) throw damaged(path, `${which} has impossible data_offsets`);
  const [begin, end] = offsets as [number, number];
  const bytes = elementCount(shape) * DTYPE_BYTES[dtype as SafetensorsDtype];
  if (!Number.isSafeInteger(bytes) || end - begin !== bytes) {
    throw damaged(path, `${which} of shape [${shape}] and dtype ${dtype} needs ${bytes} bytes, not ${end - begin}`);
  }
  return { name, dtype: dtype as SafetensorsDtype, shape, begin: dataStart + begin, end: dataStart + end };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

/** The header of a file that is in memory. @throws UserError naming `path` and the problem */
export function headerOf(file: Uint8Array, path: string): SafetensorsHeader {
  const length = headerLength(file.subarray(0, LENGTH_BYTES), file.length, path);
  return parseSafetensorsHeader(file.subarray(LENGTH_BYTES, LENGTH_BYTES + length), file.length, path);
}

/** Opens `path`, reads and validates its header. @throws UserError naming the file; PeerError when reading fails */
export async function readSafetensorsHeader(path: string): Promise<SafetensorsHeader> {
  const file = await openStored(path);
  try {
    const prefix = new Uint8Array(Math.min(LENGTH_BYTES, file.bytes));
    await file.read(prefix, 0);
    const json = new Uint8Array(headerLength(prefix, file.bytes, path));
    await file.read(json, LENGTH_BYTES);
    return parseSafetensorsHeader(json, file.bytes, path);
  } finally {
    await file.close();
  }
}

/** A tensor to be written. */
export interface WrittenTensor extends TensorShape {
  /** Default: F32. */
  readonly dtype?: SafetensorsDtype;
}

/**
 * The start of a file (length and JSON header) of tensors that follow in this order. Deterministic. Spaces pad the
 * header to a multiple of 8 bytes, so that the data is aligned.
 */
export function encodeSafetensorsHeader(
  tensors: readonly WrittenTensor[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const table = new Map<string, unknown>([['__metadata__', metadata]]);
  let offset = 0;
  for (const { name, shape, dtype = 'F32' } of tensors) {
    invariant(!table.has(name), `two tensors are named ${name}`);
    const end = offset + elementCount(shape) * DTYPE_BYTES[dtype];
    table.set(name, { dtype, shape, data_offsets: [offset, end] });
    offset = end;
  }
  // Built by hand, because an object would move names that look like integers to the front.
  const fields = [...table].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  const json = new TextEncoder().encode(`{${fields.join(',')}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(LENGTH_BYTES + padded).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, LENGTH_BYTES);
  return bytes;
}
