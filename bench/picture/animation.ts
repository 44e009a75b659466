/**
 * Screens with the times at which they are shown, as one animated SVG. Equal pieces of several screens are drawn once: CSS keyframes say
 * when they are visible. Bars are shapes, not glyphs, so that they look alike in every font. A reader who prefers no motion, or a program
 * that knows no animation, sees the screen that is chosen for them.
 */
import { escaped } from '../../src/report/markup.ts';
import type { Piece, Row } from './screen.ts';

/** Two terminals, one above the other. */
export interface Shot {
  /** When it appears, in seconds from the start. */
  readonly from: number;
  readonly rows: readonly Row[];
  readonly otherRows: readonly Row[];
}

export interface AnimationOptions {
  readonly shots: readonly Shot[];
  /** The length, in seconds; then it begins again. */
  readonly seconds: number;
  readonly columns: number;
  /** Rows of the upper and of the lower terminal. */
  readonly rowCounts: readonly [upper: number, lower: number];
  readonly titles: readonly [upper: string, lower: string];
  /** What the picture shows, for those who cannot see it. */
  readonly description: string;
  /** The index of the screen that stands still. */
  readonly still: number;
}

const cell = { width: 8.4, height: 19 } as const;
const fontSize = 14;
const baseline = 14;
const padding = 14;
const titleHeight = 30;

export function animationOf(options: AnimationOptions): string {
  const { seconds, columns, rowCounts, titles, description } = options;
  const width = round(columns * cell.width + 2 * padding);
  const heights = rowCounts.map((rows) => titleHeight + rows * cell.height + padding);
  const height = heights[0]! + heights[1]!;
  const groups = visibleGroups(options, [titleHeight, heights[0]! + titleHeight]);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${escaped(description)}</title>`,
    `<style>${style}${groups.map(({ css }) => css).join('')}`,
    `@media (prefers-reduced-motion:no-preference){g[id]{animation:${seconds}s step-end infinite}`,
    `${groups.map(({ animated }) => animated).join('')}}</style>`,
    `<rect x=".5" y=".5" width="${width - 1}" height="${height - 1}" rx="8" fill="#16181d" stroke="#3b4048"/>`,
    `<path d="M1 ${heights[0]}H${width - 1}" stroke="#3b4048"/>`,
    ...['#ff5f57', '#febc2e', '#28c840'].map(
      (fill, i) => `<circle cx="${20 + 18 * i}" cy="16" r="5.5" fill="${fill}"/>`,
    ),
    ...titles.map(
      (title, i) => `<text class="t" x="${width / 2}" y="${(i === 0 ? 0 : heights[0]!) + 20}">${escaped(title)}</text>`,
    ),
    ...groups.map(({ markup }) => markup),
    '</svg>\n',
  ].join('\n');
}

const style = [
  `text{font:${fontSize}px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d7dae0;white-space:pre}`,
  'text.t{font:12px system-ui,sans-serif;fill:#8b919c;text-anchor:middle}',
  ...Object.entries({
    red: '#ff7b72',
    green: '#57c26d',
    yellow: '#e3b341',
    blue: '#6cb0ff',
    magenta: '#d796f0',
    cyan: '#56c8d8',
    grey: '#8b919c',
  }).map(([name, fill]) => `.${name}{fill:${fill}}`),
  'path{fill:#d7dae0}.bold{font-weight:700}.dim{fill-opacity:.6}',
].join('');

interface Group {
  /** How it stands still, and its keyframes. */
  readonly css: string;
  /** That it moves. */
  readonly animated: string;
  readonly markup: string;
}

/** Pieces that are visible in the same shots share one group, and so one animation. */
function visibleGroups({ shots, seconds, still }: AnimationOptions, tops: readonly [number, number]): Group[] {
  const shotsOf = new Map<string, number[]>();
  for (const [index, { rows, otherRows }] of shots.entries()) {
    for (const [terminal, top] of [
      [rows, tops[0]],
      [otherRows, tops[1]],
    ] as const) {
      for (const [row, pieces] of terminal.entries()) {
        for (const piece of pieces) {
          const drawn = drawnPiece(piece, top + row * cell.height);
          shotsOf.set(drawn, [...(shotsOf.get(drawn) ?? []), index]);
        }
      }
    }
  }
  const together = new Map<string, { indexes: readonly number[]; body: string }>();
  for (const [drawn, indexes] of shotsOf) {
    const body = together.get(indexes.join())?.body ?? '';
    together.set(indexes.join(), { indexes, body: body + drawn });
  }
  return [...together.values()].map(({ indexes, body }, i) => {
    if (indexes.length === shots.length) return { css: '', animated: '', markup: `<g>${body}</g>` };
    const name = `k${i}`;
    const frames = keyframes(indexes, shots, seconds);
    const css = `#${name}{opacity:${indexes.includes(still) ? 1 : 0}}@keyframes ${name}{${frames}}`;
    const animated = `#${name}{animation-name:${name}}`;
    return { css, animated, markup: `<g id="${name}">${body}</g>` };
  });
}

/** Visible from the start of each shot to that of the next one, by percentages of the length. */
function keyframes(indexes: readonly number[], shots: readonly Shot[], seconds: number): string {
  const at = (index: number) => `${round((100 * shots[index]!.from) / seconds, 2)}%`;
  const changes: string[] = indexes[0] === 0 ? [] : ['0%{opacity:0}'];
  for (const [i, index] of indexes.entries()) {
    if (indexes[i - 1] !== index - 1) changes.push(`${at(index)}{opacity:1}`);
    if (indexes[i + 1] !== index + 1 && index + 1 < shots.length) changes.push(`${at(index + 1)}{opacity:0}`);
  }
  return changes.join('');
}

function drawnPiece(piece: Piece, top: number): string {
  const { column, text, colour, bold, dim } = piece;
  const x = round(padding + column * cell.width);
  const names = [...(colour === undefined ? [] : [colour]), ...(bold ? ['bold'] : []), ...(dim ? ['dim'] : [])];
  const look = names.length === 0 ? '' : ` class="${names.join(' ')}"`;
  const shape = barOf(text, x, top);
  if (shape !== undefined) return `<path${look}${shape}/>`;
  // Short texts are about as wide in every font.
  const width = text.length < 6 ? '' : ` textLength="${round([...text].length * cell.width)}"`;
  return `<text${look} x="${x}" y="${top + baseline}"${width}>${escaped(text)}</text>`;
}

const eighths = '▁▂▃▄▅▆▇█';
const shades: Readonly<Record<string, number>> = { '░': 0.2, '▒': 0.55, '▓': 0.75 };

/** The attributes of a path for bars, shades and rules; undefined for text. */
function barOf(text: string, x: number, top: number): string | undefined {
  const first = text[0] ?? '';
  const right = round(x + text.length * cell.width);
  if (first === '─') return ` d="M${x} ${top + 9}H${right}v1H${x}z"`;
  const opacity = shades[first];
  const bottom = top + cell.height - 3;
  if (opacity !== undefined) return ` opacity="${opacity}" d="M${x} ${top + 3}H${right}V${bottom}H${x}z"`;
  if (!eighths.includes(first)) return undefined;
  let outline = `M${x} ${bottom}`;
  for (const [i, mark] of [...text].entries()) {
    if (mark === text[i - 1]) continue;
    if (i > 0) outline += `H${round(x + i * cell.width)}`;
    outline += `V${round(bottom - ((cell.height - 6) * (eighths.indexOf(mark) + 1)) / 8)}`;
  }
  return ` d="${outline}H${right}V${bottom}z"`;
}

function round(value: number, digits = 1): number {
  return Number(value.toFixed(digits));
}
