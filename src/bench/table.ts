/** Tables whose rows are printed one by one as they are measured, with widths known in advance. */

export interface Column {
  readonly heading: string;
  /** Width of the widest cell; a wider heading widens the column. */
  readonly width: number;
  /** Texts are aligned left, numbers right. */
  readonly align: 'left' | 'right';
}

export function textColumn(heading: string, cells: readonly string[]): Column {
  return { heading, width: Math.max(0, ...cells.map((cell) => cell.length)), align: 'left' };
}

export function numberColumn(heading: string, width = 0): Column {
  return { heading, width, align: 'right' };
}

export function tableHeading(columns: readonly Column[]): string {
  return tableRow(
    columns,
    columns.map(({ heading }) => heading),
  );
}

/** One line without its line end; missing cells at the end are empty. */
export function tableRow(columns: readonly Column[], cells: readonly string[]): string {
  return columns
    .map(({ heading, width, align }, i) => {
      const widest = Math.max(heading.length, width);
      const cell = cells[i] ?? '';
      return align === 'left' ? cell.padEnd(widest) : cell.padStart(widest);
    })
    .join('  ')
    .trimEnd();
}

export function fixed(value: number | undefined, digits: number): string {
  return value?.toFixed(digits) ?? '';
}

export function percent(share: number | undefined): string {
  return share === undefined ? '' : `${(100 * share).toFixed(0)} %`;
}
