/**
 * Colours, where a terminal shows them and the user wants them (`FORCE_COLOR` over `NO_COLOR` over what the terminal can), and the
 * progress of a command that takes long. Progress goes to standard error: standard output is for the result.
 */
import { styleText } from 'node:util';

/** No progress is printed before this, nor more often. */
const progressIntervalMs = 2000;

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'blue' | 'cyan' | 'magenta';

/** The part of a stream that decides about colours; a terminal has `hasColors`. */
export interface ColorStream {
  readonly isTTY?: boolean;
  readonly hasColors?: () => boolean;
}

/** https://no-color.org: any text in NO_COLOR counts. FORCE_COLOR as Node reads it: 0 and false are no, the empty text is yes. */
export function wantsColor(stream: ColorStream, env: NodeJS.ProcessEnv = process.env): boolean {
  const forced = env['FORCE_COLOR'];
  if (forced !== undefined) return forced !== '0' && forced !== 'false';
  if (env['NO_COLOR'] || env['TERM'] === 'dumb') return false;
  return stream.isTTY === true && (stream.hasColors?.() ?? true);
}

/** `text` as it is where `stream` shows no colours. */
export function style(name: Style, text: string, stream: ColorStream = process.stdout): string {
  return wantsColor(stream) ? paint(name, text) : text;
}

/** Whatever the terminal can: for whoever has asked {@link wantsColor}. */
export function paint(name: Style, text: string): string {
  return styleText(name, text, { validateStream: false });
}

/** Says how far `label` is and how long it still takes, every two seconds; silent for work that is done sooner. */
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
