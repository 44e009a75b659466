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
import { WindowBatch } from '../base/windowBatch.ts';
import type { BatchFields } from './messageFields.ts';

type Field = BatchFields[number];
type WindowType = NonNullable<Field['window']>;

const numberBytes = 4;
const windowArrays = { uint16: Uint16Array, uint32: Uint32Array } as const;

/** What the message says of the arrays, and the payload. */
export interface BatchMessage {
  readonly fields: BatchFields;
  readonly payload: Uint8Array;
}

/** Arrays of a batch that lie one after another in payloads. */
interface Part {
  readonly fields: readonly Field[];
  /** The numbers of all samples, without a gap. */
  readonly bytes: Uint8Array;
  readonly sampleBytes: number;
}

/** A batch that is encoded once, of which every rank gets a share. */
export class EncodedBatch {
  readonly #parts: readonly Part[];
  readonly #fields: BatchFields;

  constructor(batch: Batch) {
    this.#parts = batch instanceof WindowBatch ? [partOfWindows(batch)] : partsOf(batch);
    this.#fields = this.#parts.flatMap(({ fields }) => fields);
  }

  /**
   * The samples [from, from + count) as `share` has them, but with nothing after them, so that they can be divided further: those of each sample lie one after
   * another. Undefined for a batch of which that is not so. Shares memory with the batch.
   */
  rows(from: number, count: number): BatchMessage | undefined {
    const [only, ...others] = this.#parts;
    if (only === undefined || others.length > 0) return undefined;
    const { bytes, sampleBytes } = only;
    return { fields: this.#fields, payload: bytes.subarray(from * sampleBytes, (from + count) * sampleBytes) };
  }

  /** The samples [from, from + count). The payload may share memory with others of this batch. */
  share(from: number, count: number): BatchMessage {
    const slices = this.#parts.map(({ bytes, sampleBytes }) =>
      bytes.subarray(from * sampleBytes, (from + count) * sampleBytes),
    );
    const [only] = slices;
    if (only !== undefined && slices.length === 1) return { fields: this.#fields, payload: alignedShare(only) };
    const payload = new Uint8Array(slices.reduce((size, { byteLength }) => size + aligned(byteLength), 0));
    let at = 0;
    for (const slice of slices) {
      payload.set(slice, at);
      at += aligned(slice.byteLength);
    }
    return { fields: this.#fields, payload };
  }
}

/** The numbers of some samples as a payload: of a length that is a multiple of four. They are copied only if they have another. */
export function alignedShare(numbers: Uint8Array): Uint8Array {
  if (numbers.byteLength % numberBytes === 0) return numbers;
  const payload = new Uint8Array(aligned(numbers.byteLength));
  payload.set(numbers);
  return payload;
}

/** All samples of a batch. */
export function encodeBatch(batch: Batch): BatchMessage {
  return new EncodedBatch(batch).share(0, batch.sampleCount);
}

function partOfWindows({ windows: { names, length, numbers } }: WindowBatch): Part {
  const [first, second] = names.map((name): Field => ({ name, dtype: 'int32', shape: [length] }));
  const type: WindowType = numbers instanceof Uint16Array ? 'uint16' : 'uint32';
  return {
    fields: [{ ...first!, window: type }, second!],
    bytes: new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength),
    sampleBytes: (length + 1) * numbers.BYTES_PER_ELEMENT,
  };
}

function partsOf({ sampleCount, arrays }: Batch): Part[] {
  const list = Object.entries(arrays);
  const parts: Part[] = [];
  for (let i = 0; i < list.length; i++) {
    const [name, array] = list[i]!;
    const next = list[i + 1];
    const windows = next && windowsOf(sampleCount, array, next[1]);
    if (windows === undefined) {
      const { buffer, byteOffset, byteLength } = array.data;
      const bytes = new Uint8Array(buffer, byteOffset, byteLength);
      parts.push({ fields: [fieldOf(name, array)], bytes, sampleBytes: sizeOf(array.shape) * numberBytes });
      continue;
    }
    const { type, bytes, sampleBytes } = windows;
    parts.push({ fields: [{ ...fieldOf(name, array), window: type }, fieldOf(...next!)], bytes, sampleBytes });
    i++;
  }
  return parts;
}

function fieldOf(name: string, { shape, data }: BatchArray): Field {
  return { name, dtype: data instanceof Int32Array ? 'int32' : 'float32', shape: [...shape] };
}

/** The windows of two arrays; undefined if they have none. */
function windowsOf(sampleCount: number, one: BatchArray, next: BatchArray) {
  const [length = 0] = one.shape;
  const { data: first } = one;
  const { data: second } = next;
  const isAlike = one.shape.length === 1 && next.shape.length === 1 && next.shape[0] === length;
  if (length < 2 || !isAlike || !(first instanceof Int32Array && second instanceof Int32Array)) return undefined;
  if (!isShifted(first, second, length)) return undefined;
  // A negative number sets the highest bit.
  let bits = 0;
  for (let i = 0; i < first.length; i++) bits |= first[i]!;
  for (let i = length - 1; i < second.length; i += length) bits |= second[i]!;
  if (bits < 0) return undefined;
  const type: WindowType = bits < 2 ** 16 ? 'uint16' : 'uint32';
  const windows = new windowArrays[type](sampleCount * (length + 1));
  for (let sample = 0; sample < sampleCount; sample++) {
    const from = sample * length;
    windows.set(first.subarray(from, from + length), sample * (length + 1));
    windows[(sample + 1) * (length + 1) - 1] = second[from + length - 1]!;
  }
  const sampleBytes = (length + 1) * windows.BYTES_PER_ELEMENT;
  return { type, bytes: new Uint8Array(windows.buffer), sampleBytes };
}

/** Whether each sample of the second array is that of the first, one position further. */
function isShifted(first: Int32Array, second: Int32Array, length: number): boolean {
  // Comparing bytes takes a fifth of the time that a loop over the numbers takes.
  const [one, other] = [first, second].map(({ buffer, byteOffset, byteLength }) =>
    Buffer.from(buffer, byteOffset, byteLength),
  );
  const sampleBytes = length * numberBytes;
  for (let from = 0; from < first.byteLength; from += sampleBytes) {
    const end = from + sampleBytes;
    if (other!.compare(one!, from + numberBytes, end, from, end - numberBytes) !== 0) return false;
  }
  return true;
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / numberBytes) * numberBytes;
}

/** A multiple of four, so that what follows is aligned. */
function windowBytes(sampleCount: number, length: number, type: WindowType): number {
  return aligned(sampleCount * (length + 1) * windowArrays[type].BYTES_PER_ELEMENT);
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
