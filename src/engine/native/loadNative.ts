/** The addon, or why the native engine is not available and what to do to have it. */
import { getNativeEngine } from '../../base/installation.ts';
import { EngineUnavailableError } from '../engineUnavailable.ts';
import { findNative, type NativeFound } from './addon.ts';

export type NativeLoad = NativeFound | NativeMissing;

interface NativeMissing {
  /** Why the native engine is not available, in one line. */
  readonly error: string;
  /** What to do to have it. */
  readonly cure: string;
}

/** Loads the addon once. */
export function loadNative(): NativeLoad {
  const found = findNative();
  if ('addon' in found) return found;
  const why =
    found.problems.length > 0 ? found.problems.join('; ') : 'it is not compiled, and no prebuilt one is installed';
  return { error: why, cure: getNativeEngine(found.isListed) };
}

/** What is thrown where the native engine is needed. */
export function unavailable({ error, cure }: NativeMissing): EngineUnavailableError {
  return new EngineUnavailableError('the native engine', error, cure);
}
