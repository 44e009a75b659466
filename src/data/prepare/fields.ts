/** Which part of a JSON object or of a row of a table is the text, and how the user can say it: for readers and their messages. */
export interface Fields {
  /** The key of a JSON object, or the name of a column. */
  readonly field: string;
  /** How the user sets it, for messages: `--field`. */
  readonly fieldSetting: string;
  /** How documents without text are left out, for messages: `--skip-bad`. */
  readonly skipSetting: string;
}

/** The settings as `launch prepare` has them. */
export function prepareFields(field: string): Fields {
  return { field, fieldSetting: '--field', skipSetting: '--skip-bad' };
}
