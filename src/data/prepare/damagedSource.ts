import { UserError } from '../../base/errors.ts';

/**
 * For a file whose content cannot be decoded. What the decoder says is for those who wrote it: the cause, which `--debug` prints.
 * @param expected what the file should be: `gzip data`
 * @param but what is wrong with it: `it is cut off`
 */
export function damagedSource(name: string, expected: string, but: string, cause?: unknown): UserError {
  const options = cause === undefined ? {} : { cause };
  return new UserError(`${name}: expected complete ${expected}, but ${but}. Copy or download the file again`, options);
}
