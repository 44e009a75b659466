/** The part of a JSON object or table row that is the text, and how users specify it, for readers and their messages. */
export interface Fields {
  /** The key of a JSON object, or the name of a column. */
  readonly field: string;
  /** The setting that names it, for messages: `--field`. */
  readonly fieldSetting: string;
  /** The setting that skips documents without text, for messages: `--skip-bad`. */
  readonly skipSetting: string;
}

/** The settings of `launch prepare`. */
export function prepareFields(field: string): Fields {
  return { field, fieldSetting: '--field', skipSetting: '--skip-bad' };
}
