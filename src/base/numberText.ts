/** A number with commas between its thousands: `1,234,567`. */
export function grouped(value: number): string {
  return value.toLocaleString('en-US');
}

/** A number of things: `1 row`, `2,000 rows`. */
export function countOf(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? '' : 's'}`;
}
