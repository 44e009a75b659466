/** The option `--columns` of commands that read rows. */

export const columnsOption = {
  type: 'string',
  requiresArg: true,
  describe: 'For rows: names of the columns of a table without a header row, such as label,text',
} as const;

/** The names; undefined without the option. */
export function columnNames(columns: string | undefined): string[] | undefined {
  return columns?.split(',').map((name) => name.trim());
}
