/** Colours, where a terminal shows them and the user wants them: `FORCE_COLOR` over `NO_COLOR` over what the terminal can. */
import { styleText } from 'node:util';

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
