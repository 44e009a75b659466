/** What a command that failed says: in words; with `--debug`, and where it is a bug, with the stack and what caused it. */
import { messageOf, PeerError, UserError } from '../base/errors.ts';

/** @param debug show where even an expected error came from */
export function errorText(error: unknown, debug: boolean): string {
  const isExpected = error instanceof UserError || error instanceof PeerError;
  if (isExpected && !debug) return messageOf(error);
  const texts: string[] = [];
  // A cause may go round in a circle.
  const seen = new Set<unknown>();
  for (let at = error; at !== undefined && !seen.has(at); at = at instanceof Error ? at.cause : undefined) {
    seen.add(at);
    texts.push(at instanceof Error ? (at.stack ?? at.message) : String(at));
  }
  return texts.join('\ncaused by: ');
}
