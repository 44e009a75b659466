/** A number with commas between its thousands: `1,234,567`. */
export function grouped(value: number): string {
  return value.toLocaleString('en-US');
}

/** A time for messages: `60 ms`, `1.5 s`, `2 s`, `1,800 s`. */
export function durationOf(milliseconds: number): string {
  if (milliseconds < 999.5) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1_000;
  return `${grouped(seconds < 9.95 ? Number(seconds.toFixed(1)) : Math.round(seconds))} s`;
}

/** A number of things: `1 row`, `2,000 rows`. */
export function countOf(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? '' : 's'}`;
}
