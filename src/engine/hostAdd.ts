/** The sum of two arrays on the calling thread: what the ring adds gradients with. */
import { nativeAddInto } from './native/nativeEngine.ts';

/** dst += src, element by element. */
export type AddInto = (dst: Float32Array, src: Float32Array) => void;

/** The fastest that there is, and whether it is native code. */
export function hostAdd(): { readonly addInto: AddInto; readonly isNative: boolean } {
  const native = nativeAddInto();
  return { addInto: native ?? addInto, isNative: native !== undefined };
}

function addInto(dst: Float32Array, src: Float32Array): void {
  for (let i = 0; i < dst.length; i++) dst[i] = (dst[i] ?? 0) + (src[i] ?? 0);
}
