/**
 * Colours, if the terminal and the user allow them (`FORCE_COLOR`, then `NO_COLOR`, then the terminal decides), and the progress of
 * long commands. Progress goes to standard error: standard output is for the result.
 */
import { styleText } from 'node:util';

/** Time before the first line of progress, and between lines. */
const progressIntervalMs = 2000;

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'blue' | 'cyan' | 'magenta';

/** The part of a stream that decides about colours; a terminal has `hasColors`. */
export interface ColorStream {
  readonly isTTY?: boolean;
  readonly hasColors?: () => boolean;
}

/** https://no-color.org: any non-empty NO_COLOR counts. FORCE_COLOR as in Node: 0 and false mean no, an empty text means yes. */
export function wantsColor(stream: ColorStream, env: NodeJS.ProcessEnv = process.env): boolean {
  const forced = env['FORCE_COLOR'];
  if (forced !== undefined) return forced !== '0' && forced !== 'false';
  if (env['NO_COLOR'] || env['TERM'] === 'dumb') return false;
  return stream.isTTY === true && (stream.hasColors?.() ?? true);
}

/** `text` with a style, or unchanged if `stream` shows no colours. */
export function style(name: Style, text: string, stream: ColorStream = process.stdout): string {
  return wantsColor(stream) ? paint(name, text) : text;
}

/** Always applies the style: for callers that have checked {@link wantsColor}. */
export function paint(name: Style, text: string): string {
  return styleText(name, text, { validateStream: false });
}

/** Prints the progress and the remaining time of `label` every two seconds; silent for shorter work. */
export function statusLine(label: string): (done: number) => void {
  const startMs = performance.now();
  let printedMs = startMs;
  return (done) => {
    const nowMs = performance.now();
    if (nowMs - printedMs < progressIntervalMs || done <= 0) return;
    printedMs = nowMs;
    const leftSeconds = Math.round(((nowMs - startMs) / 1000) * (1 / done - 1));
    process.stderr.write(`${label}: ${Math.floor(100 * done)} %, ${leftSeconds} s left\n`);
  };
}
