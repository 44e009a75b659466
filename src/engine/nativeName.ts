/** The name of the default engine, without the registry, for `launch --version`: few modules are imported here. */
import { instructionSets } from '../base/instructionSets.ts';
import { findNative } from './native/addon.ts';
import { mayHaveGpu } from './webgpu/drivers.ts';

/** The native engine with what it computes on, such as `native AVX-512`; undefined if it is not available, or `auto` may take a GPU. */
export function nativeName(): string | undefined {
  if (mayHaveGpu()) return undefined;
  const found = findNative();
  if (!('addon' in found)) return undefined;
  const [best] = found.addon.instructionSets();
  return `native ${instructionSets[best!].label}`;
}
