/** The name of the default engine, without the registry, for `launch --version`: few modules are imported here. */
import { instructionSets } from '../base/instructionSets.ts';
import { findNative } from './native/addon.ts';

/** The native engine with what it computes on, such as `native AVX-512`; undefined if it is not available. */
export function nativeName(): string | undefined {
  const found = findNative();
  if (!('addon' in found)) return undefined;
  const [best] = found.addon.instructionSets();
  return `native ${instructionSets[best!].label}`;
}
