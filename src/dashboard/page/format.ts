/** Numbers and times as people read them. */

export function fixed(value: number | null | undefined, digits: number): string {
  return value === undefined || value === null ? '–' : value.toFixed(digits);
}

/** 12,345 or 1.23 M. */
export function short(value: number | null | undefined): string {
  if (value === undefined || value === null) return '–';
  for (const [size, unit] of [
    [1e9, ' G'],
    [1e6, ' M'],
    [1e5, ' k'],
  ] as const) {
    if (Math.abs(value) >= size) return `${(value / (size === 1e5 ? 1e3 : size)).toPrecision(4)}${unit}`;
  }
  return Math.round(value).toLocaleString('en-US');
}

/** 12.5K, 100K, 1.2M. */
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** As beside a curve and on its axis: 4 digits of it. */
export function readable(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–';
  const size = Math.abs(value);
  if (size >= 10_000) return compact.format(value);
  if (size === 0) return '0';
  return size < 0.01 ? value.toExponential(1) : String(Number(value.toPrecision(4)));
}

/** 1:02:03, 2:03. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–';
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3_600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value: number) => String(value).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** An element with text, or elements, in it. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  ...content: (string | Node)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (className !== '') made.className = className;
  made.append(...content);
  return made;
}
