/** Quotes words of commands in messages, so that users can copy them into a shell. */

/** A word for a POSIX shell, in quotes if the shell would interpret it otherwise. */
export function shellWord(word: string): string {
  return /^[\w./@%+=:,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
