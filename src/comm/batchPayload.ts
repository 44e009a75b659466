/**
 * How a batch travels with `assign` and `evaluate`: its arrays are named in the message, and lie one after another in the payload, as
 * numbers of four bytes in the byte order of this machine. What they mean is not known here.
 */
import type { Batch, BatchArray } from '../base/batch.ts';
import { PeerError } from '../base/errors.ts';
import { sizeOf } from '../base/shape.ts';
import type { BatchFields } from './messageFields.ts';

const numberBytes = 4;

/** What the message says of the arrays, and the payload. */
export function encodeBatch({ arrays }: Batch): { fields: BatchFields; payload: Uint8Array } {
  const list = Object.entries(arrays);
  const payload = new Uint8Array(list.reduce((sum, [, { data }]) => sum + data.byteLength, 0));
  let at = 0;
  for (const [, { data }] of list) {
    payload.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  const fields = list.map(([name, { shape, data }]): BatchFields[number] => {
    return { name, dtype: data instanceof Int32Array ? 'int32' : 'float32', shape: [...shape] };
  });
  return { fields, payload };
}

/** @throws PeerError if an array is there twice, or the payload is of another size */
export function decodeBatch(
  { sampleCount, fields }: { readonly sampleCount: number; readonly fields: BatchFields },
  payload: Uint8Array | undefined,
): Batch {
  const size = fields.reduce((sum, { shape }) => sum + sampleCount * sizeOf(shape), 0) * numberBytes;
  if ((payload?.byteLength ?? 0) !== size) {
    const names = fields.map(({ name }) => name).join(', ');
    throw new PeerError(
      `expected ${size} bytes of ${names} (${sampleCount} samples), received ${payload?.byteLength ?? 0}`,
    );
  }
  // A copy of its own, aligned to four bytes.
  const { buffer } = new Uint8Array(payload ?? []);
  const arrays: Record<string, BatchArray> = {};
  let at = 0;
  for (const { name, dtype, shape } of fields) {
    if (Object.hasOwn(arrays, name)) throw new PeerError(`expected each array of a batch once, received ${name} twice`);
    const length = sampleCount * sizeOf(shape);
    const data = dtype === 'int32' ? new Int32Array(buffer, at, length) : new Float32Array(buffer, at, length);
    arrays[name] = { shape, data };
    at += length * numberBytes;
  }
  return { sampleCount, arrays };
}
