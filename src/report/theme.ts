/**
 * Colours and type of every chart and page. A chart carries its light colours as attributes, which any viewer understands, and a
 * style sheet that replaces them where a dark background is preferred.
 */

/** A colour for a light and for a dark background. */
interface Tone {
  readonly light: string;
  readonly dark: string;
}

/** By role. Each is also the name of a class: `ink` text, `faint` lesser text, `grid` lines, `paper` background. */
const roles = {
  ink: { light: '#1f2430', dark: '#e6e9ef' },
  faint: { light: '#687083', dark: '#9aa3b5' },
  grid: { light: '#e3e6ec', dark: '#2b313c' },
  paper: { light: '#ffffff', dark: '#151920' },
} as const satisfies Record<string, Tone>;

export type Role = keyof typeof roles;

/** Series colours, in order; distinguishable with red or green colour blindness (after Okabe and Ito). */
const palette: readonly Tone[] = [
  { light: '#0868b5', dark: '#5aa9ee' },
  { light: '#d1570c', dark: '#f28c4b' },
  { light: '#0b8a65', dark: '#3fc49a' },
  { light: '#a8478b', dark: '#dc86c2' },
  { light: '#b58900', dark: '#e3bd45' },
  { light: '#5b55c0', dark: '#9d98f0' },
  { light: '#5f6b7a', dark: '#a5b0bf' },
];

/** The parts of a step in their order, as `phaseNames` has them: a grey and then as on the dashboard. */
export const phaseSeries: readonly number[] = [6, 0, 1, 4, 2, 3];

/** What the text is set in; a PNG has the first (png.ts), a browser the first that it has. */
export const fontFamily = 'Inter, system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif';

/** The class of the role and its light colour, as attributes. */
export function filled(role: Role): string {
  return `class="ls-f-${role}" fill="${roles[role].light}"`;
}

export function stroked(role: Role): string {
  return `class="ls-s-${role}" stroke="${roles[role].light}"`;
}

/** The same for the colour of a series; after the last comes the first again. */
export function filledSeries(index: number): string {
  const slot = index % palette.length;
  return `class="ls-f-${slot}" fill="${palette[slot]!.light}"`;
}

export function strokedSeries(index: number): string {
  const slot = index % palette.length;
  return `class="ls-s-${slot}" stroke="${palette[slot]!.light}"`;
}

/** The style sheet for dark backgrounds, to be put once into each SVG or page. */
export function darkChartStyle(): string {
  const tones: readonly (readonly [string | number, Tone])[] = [...Object.entries(roles), ...palette.entries()];
  const rules = tones.map(([name, { dark }]) => `.ls-f-${name}{fill:${dark}}.ls-s-${name}{stroke:${dark}}`);
  return `@media (prefers-color-scheme:dark){${rules.join('')}}`;
}

/** The roles as custom properties of a page: `--ink`, `--paper`, …; and the series `--series-0`, …. */
export function pageColours(): string {
  const tones: readonly (readonly [string, Tone])[] = [
    ...Object.entries(roles),
    ...palette.map((tone, i) => [`series-${i}`, tone] as const),
  ];
  const properties = (background: keyof Tone) => tones.map(([name, tone]) => `--${name}:${tone[background]}`).join(';');
  return `:root{color-scheme:light dark;${properties('light')}}@media (prefers-color-scheme:dark){:root{${properties('dark')}}}`;
}
