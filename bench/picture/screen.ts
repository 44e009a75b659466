/** What a terminal shows, as `tmux capture-pane -e` prints it: rows of pieces that have one style each. */

/** The colours that a terminal's theme names, beside that of plain text. */
export type Colour = 'red' | 'green' | 'yellow' | 'blue' | 'magenta' | 'cyan' | 'grey';

export interface PieceStyle {
  readonly colour?: Colour;
  readonly bold?: true;
  readonly dim?: true;
}

/** Cells next to each other that look alike. */
export interface Piece extends PieceStyle {
  /** The first cell's column, from 0. */
  readonly column: number;
  readonly text: string;
}

export type Row = readonly Piece[];

const colours: Readonly<Record<number, Colour>> = {
  31: 'red',
  32: 'green',
  33: 'yellow',
  34: 'blue',
  35: 'magenta',
  36: 'cyan',
  90: 'grey',
};

const esc = '\u001b';
const styleOrText = new RegExp(`${esc}\\[([\\d;]*)m|([^${esc}]+|${esc})`, 'g');

/** A captured screen without its styles. */
export function unstyled(captured: string): string {
  return captured.replaceAll(new RegExp(`${esc}\\[[\\d;]*m`, 'g'), '');
}

/**
 * The rows of a captured screen. Every character takes one cell.
 * @throws Error for an escape sequence that the live view does not use
 */
export function rowsOf(captured: string): Row[] {
  let style: PieceStyle = {};
  return captured.split('\n').map((line) => {
    const pieces: Piece[] = [];
    let column = 0;
    for (const [, codes, text] of line.matchAll(styleOrText)) {
      if (codes !== undefined) {
        style = codes.split(';').map(Number).reduce(withCode, style);
        continue;
      }
      if (text === undefined || text === esc) throw new Error(`expected a style, found ${JSON.stringify(line)}`);
      pieces.push(...piecesOf(text, column, style));
      column += [...text].length;
    }
    return pieces;
  });
}

function withCode(style: PieceStyle, code: number): PieceStyle {
  const { colour, ...rest } = style;
  if (code === 0) return {};
  if (code === 1) return { ...style, bold: true };
  if (code === 2) return { ...style, dim: true };
  if (code === 22) return colour === undefined ? {} : { colour };
  if (code === 39) return rest;
  if (code === 49) return style; // the terminal's own background
  const named = colours[code];
  if (named === undefined) throw new Error(`expected a style of the live view, found the code ${code}`);
  return { ...rest, colour: named };
}

/** Pieces that change on their own: words apart by two spaces or more, and bars apart from text. */
function piecesOf(text: string, column: number, style: PieceStyle): Piece[] {
  const parts = text.matchAll(/[█▇▆▅▄▃▂▁]+|▓+|▒+|░+|─+|[^\s█▇▆▅▄▃▂▁▓▒░─]+(?: [^\s█▇▆▅▄▃▂▁▓▒░─]+)*/g);
  return [...parts].map((part) => ({
    column: column + [...text.slice(0, part.index)].length,
    text: part[0],
    ...style,
  }));
}
