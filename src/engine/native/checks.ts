/** Shape checks of the native engine: each returns what a kernel needs and throws an InvariantError that names the tensor. */
import { InvariantError } from '../../base/errors.ts';
import type { KeyRanges } from '../attentionOptions.ts';
import { type Documents, expectStarts } from '../documents.ts';
import { type Dropout, forEachSampleKey } from '../dropout.ts';
import { expectRanges } from '../hostIntegers.ts';
import type { HostArray, Tensor, TensorGroup } from '../tensor.ts';
import { NativeTensor, NativeTensorGroup } from './sharedMemory.ts';

export function nativeTensor(tensor: Tensor, name: string): NativeTensor {
  if (tensor instanceof NativeTensor) return tensor;
  throw new InvariantError(`${name} is not a tensor of the native engine`);
}

/** The array of a float32 tensor, of `size` elements if given. */
export function floats(tensor: Tensor, name: string, size = tensor.size): Float32Array {
  const { data, dtype, shape } = nativeTensor(tensor, name);
  if (!(data instanceof Float32Array)) throw new InvariantError(`${name} [${shape}] is ${dtype}; expected float32`);
  if (data.length !== size) throw new InvariantError(`${name} is [${shape}]; expected ${size} elements`);
  return data;
}

/** The array of a float32 or bfloat16 tensor, of `size` elements if given. */
export function anyFloats(tensor: Tensor, name: string, size = tensor.size): Float32Array | Uint16Array {
  const { data, shape } = nativeTensor(tensor, name);
  if (data instanceof Int32Array) throw new InvariantError(`${name} [${shape}] is int32; expected float32 or bfloat16`);
  if (data.length !== size) throw new InvariantError(`${name} is [${shape}]; expected ${size} elements`);
  return data;
}

/** The array of an int32 tensor, of `size` elements if given. */
export function ints(tensor: Tensor, name: string, size = tensor.size): Int32Array {
  const { data, dtype, shape } = nativeTensor(tensor, name);
  if (!(data instanceof Int32Array)) throw new InvariantError(`${name} [${shape}] is ${dtype}; expected int32`);
  if (data.length !== size) throw new InvariantError(`${name} is [${shape}]; expected ${size} elements`);
  return data;
}

/** The starts of documents that the options of a kernel name, [B, T], or null; see `Documents`. */
export function startsOf(kernel: string, { starts }: Documents, b: number, t: number): Int32Array | null {
  if (starts === undefined) return null;
  const values = ints(starts, 'starts', b * t);
  expectStarts(kernel, values, t);
  return values;
}

/** The key ranges of an attention, each [B, Tq] or null; see `KeyRanges`. */
export function rangesOf(
  kernel: string,
  options: KeyRanges,
  { b, tq, tk }: { readonly b: number; readonly tq: number; readonly tk: number },
): { readonly starts: Int32Array | null; readonly ends: Int32Array | null } {
  if (options.ends === undefined) {
    if (tq !== tk) throw new InvariantError(`${kernel}: ${tq} queries of ${tk} keys need the ends of their ranges`);
    return { starts: startsOf(kernel, options, b, tq), ends: null };
  }
  const [starts, ends] = [options.starts && ints(options.starts, 'starts', b * tq), ints(options.ends, 'ends', b * tq)];
  expectRanges(kernel, { starts, ends }, { queries: tq, keys: tk });
  return { starts: starts ?? null, ends };
}

export function floatsOfGroup(group: TensorGroup): Float32Array {
  if (group instanceof NativeTensorGroup) return group.data;
  throw new InvariantError('not a tensor group of the native engine');
}

/** Where `keysOf` writes: the addon keeps no reference, and the number of samples hardly ever changes. */
let keyWords = new Uint32Array(0);

/** The words of the keys of `samples` samples, valid until the next call. */
export function keysOf(dropout: Dropout, samples: number): Uint32Array {
  if (keyWords.length !== 2 * samples) keyWords = new Uint32Array(2 * samples);
  forEachSampleKey(dropout, samples, ({ k0, k1 }, sample) => {
    keyWords[2 * sample] = k0;
    keyWords[2 * sample + 1] = k1;
  });
  return keyWords;
}

/** Host data must have the tensor's type and size. */
export function checkHostArray(own: HostArray, other: HostArray, operation: string): void {
  if (own.constructor !== other.constructor || own.length !== other.length) {
    throw new InvariantError(
      `${operation}: the tensor is ${own.constructor.name}(${own.length}), the array ${other.constructor.name}(${other.length})`,
    );
  }
}
