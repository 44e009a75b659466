/** The options `--columns`, `--format` and `--targets` of commands that read rows. */
import { sourceFormats } from '../data/prepare/fileKinds.ts';

export const columnsOption = {
  type: 'string',
  requiresArg: true,
  describe:
    'For rows: names of the columns of a table without a header row, such as label,text; or the columns to take, such as label=v1,text=v2',
} as const;

export const rowFormatOption = {
  choices: sourceFormats.filter((format) => format !== 'text'),
  requiresArg: true,
  describe: 'For rows: format of the file [default: by its name and content]',
} as const;

export const targetsOption = {
  type: 'string',
  requiresArg: true,
  describe: 'For a text file of sources: the text file of their targets',
} as const;

/** The names; undefined without the option. */
export function columnNames(columns: string | undefined): string[] | undefined {
  return columns?.split(',').map((name) => name.trim());
}
