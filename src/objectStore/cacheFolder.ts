/** The user's folder for what can be fetched or made again. */
import { homedir } from 'node:os';
import { join } from 'node:path';

/** `~/.cache/lockstep/NAME`, or below `XDG_CACHE_HOME`. */
export function cacheFolder(name: string): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'lockstep', name);
}
