/**
 * How a batch travels with `assign` and `evaluate`: its arrays are named in the message, and lie one after another in the payload, as
 * numbers of four bytes in the byte order of this machine. What they mean is not known here.
 *
 * Two arrays [T] of which the second is the first one position further, as the targets of a text are its tokens, travel as one window of T + 1
 * numbers a sample, of two bytes where that is enough: a quarter of the bytes.
 */
import type { Batch, BatchArray } from '../base/batch.ts';
import { PeerError } from '../base/errors.ts';
import { sizeOf } from '../base/shape.ts';
import type { BatchFields } from './messageFields.ts';

type Field = BatchFields[number];
type WindowType = NonNullable<Field['window']>;

const numberBytes = 4;
const windowArrays = { uint16: Uint16Array, uint32: Uint32Array } as const;

/** What the message says of the arrays, and the payload. */
export function encodeBatch({ sampleCount, arrays }: Batch): { fields: BatchFields; payload: Uint8Array } {
  const list = Object.entries(arrays);
  const fields: BatchFields = [];
  const parts: Uint8Array[] = [];
  for (let i = 0; i < list.length; i++) {
    const [name, array] = list[i]!;
    const next = list[i + 1];
    const windows = next && windowsOf(sampleCount, array, next[1]);
    if (windows !== undefined) {
      fields.push({ ...fieldOf(name, array), window: windows.type }, fieldOf(...next!));
      parts.push(windows.bytes);
      i++;
      continue;
    }
    fields.push(fieldOf(name, array));
    const { buffer, byteOffset, byteLength } = array.data;
    parts.push(new Uint8Array(buffer, byteOffset, byteLength));
  }
  const payload = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    payload.set(part, at);
    at += part.byteLength;
  }
  return { fields, payload };
}

function fieldOf(name: string, { shape, data }: BatchArray): Field {
  return { name, dtype: data instanceof Int32Array ? 'int32' : 'float32', shape: [...shape] };
}

/** The windows of two arrays; undefined if they have none. */
function windowsOf(
  sampleCount: number,
  one: BatchArray,
  next: BatchArray,
): { type: WindowType; bytes: Uint8Array } | undefined {
  const [length = 0] = one.shape;
  const { data: first } = one;
  const { data: second } = next;
  const isAlike = one.shape.length === 1 && next.shape.length === 1 && next.shape[0] === length;
  if (length < 2 || !isAlike || !(first instanceof Int32Array && second instanceof Int32Array)) return undefined;
  // A negative number sets the highest bit.
  let bits = 0;
  for (let from = 0; from < sampleCount * length; from += length) {
    for (let i = 0; i < length - 1; i++) if (second[from + i] !== first[from + i + 1]) return undefined;
    bits |= first[from]! | second[from + length - 1]!;
    for (let i = 1; i < length; i++) bits |= first[from + i]!;
  }
  if (bits < 0) return undefined;
  const type = bits < 2 ** 16 ? 'uint16' : 'uint32';
  const size = windowBytes(sampleCount, length, type);
  const bytes = new Uint8Array(size);
  const windows = new windowArrays[type](bytes.buffer, 0, sampleCount * (length + 1));
  for (let sample = 0; sample < sampleCount; sample++) {
    const from = sample * length;
    windows.set(first.subarray(from, from + length), sample * (length + 1));
    windows[(sample + 1) * (length + 1) - 1] = second[from + length - 1]!;
  }
  return { type, bytes };
}

/** A multiple of four, so that what follows is aligned. */
function windowBytes(sampleCount: number, length: number, type: WindowType): number {
  const bytes = sampleCount * (length + 1) * windowArrays[type].BYTES_PER_ELEMENT;
  return Math.ceil(bytes / numberBytes) * numberBytes;
}

/** @throws PeerError if the message names an array twice, if windows do not belong to two arrays, or if the payload has another size */
export function decodeBatch(
  { sampleCount, fields }: { readonly sampleCount: number; readonly fields: BatchFields },
  payload: Uint8Array | undefined,
): Batch {
  const size = fields.reduce((sum, { shape, window }, i) => {
    if (window !== undefined) return sum + windowBytes(sampleCount, checkedLength(fields, i), window);
    return fields[i - 1]?.window === undefined ? sum + sampleCount * sizeOf(shape) * numberBytes : sum;
  }, 0);
  if ((payload?.byteLength ?? 0) !== size) {
    const names = fields.map(({ name }) => name).join(', ');
    throw new PeerError(
      `expected ${size} bytes of ${names} (${sampleCount} samples), received ${payload?.byteLength ?? 0}`,
    );
  }
  // A copy of its own, aligned to four bytes.
  const { buffer } = new Uint8Array(payload ?? []);
  const arrays: Record<string, BatchArray> = {};
  const add = (name: string, array: BatchArray) => {
    if (Object.hasOwn(arrays, name)) throw new PeerError(`expected each array of a batch once, received ${name} twice`);
    arrays[name] = array;
  };
  let at = 0;
  for (const [i, { name, dtype, shape, window }] of fields.entries()) {
    if (fields[i - 1]?.window !== undefined) continue;
    const length = sampleCount * sizeOf(shape);
    if (window !== undefined) {
      const [first, second] = arraysOf(sampleCount, shape, new windowArrays[window](buffer, at));
      add(name, first);
      add(fields[i + 1]!.name, second);
      at += windowBytes(sampleCount, shape[0]!, window);
      continue;
    }
    const data = dtype === 'int32' ? new Int32Array(buffer, at, length) : new Float32Array(buffer, at, length);
    add(name, { shape, data });
    at += length * numberBytes;
  }
  return { sampleCount, arrays };
}

/** The length of a window, but for its last number. @throws PeerError if the two fields are not those of a window */
function checkedLength(fields: BatchFields, index: number): number {
  const [one, next] = [fields[index]!, fields[index + 1]];
  const isPair =
    one.shape.length === 1 && next?.shape.length === 1 && next.shape[0] === one.shape[0] && next.window === undefined;
  if (!isPair || one.dtype !== 'int32' || next.dtype !== 'int32') {
    throw new PeerError(`expected two int32 arrays of one length from ${one.name} on, whose windows are sent`);
  }
  return one.shape[0]!;
}

function arraysOf(
  sampleCount: number,
  shape: readonly number[],
  windows: Uint16Array | Uint32Array,
): [BatchArray, BatchArray] {
  const length = shape[0]!;
  const [first, second] = [new Int32Array(sampleCount * length), new Int32Array(sampleCount * length)];
  for (let sample = 0; sample < sampleCount; sample++) {
    const from = sample * (length + 1);
    first.set(windows.subarray(from, from + length), sample * length);
    second.set(windows.subarray(from + 1, from + length + 1), sample * length);
  }
  return [
    { shape, data: first },
    { shape, data: second },
  ];
}
