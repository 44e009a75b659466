import { createHash } from 'node:crypto';
import { engineWordMax } from '../comm/messageFields.ts';

/**
 * A device's description of itself, as a word of an `EngineId`. A long one is cut and ends with a hash of the entire text, because
 * workers are compared by it.
 */
export function engineWordOf(name: string): string {
  if (name.length <= engineWordMax) return name || 'unnamed';
  const digits = createHash('sha256').update(name).digest('hex').slice(0, 16);
  return `${name.slice(0, engineWordMax - digits.length - 1)} ${digits}`;
}
