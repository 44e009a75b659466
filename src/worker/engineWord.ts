import { createHash } from 'node:crypto';
import { engineWordMax } from '../comm/messageFields.ts';

/**
 * What a device says that it is, as a word of an `EngineId`: one that is too long is cut, with a hash of it all at its end, as workers
 * are compared by it.
 */
export function engineWordOf(name: string): string {
  if (name.length <= engineWordMax) return name || 'unnamed';
  const digits = createHash('sha256').update(name).digest('hex').slice(0, 16);
  return `${name.slice(0, engineWordMax - digits.length - 1)} ${digits}`;
}
