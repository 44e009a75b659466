/** Words of commands that a message shows: whoever copies them into a shell runs what is meant. */

/** A word as a POSIX shell takes it: itself, or in quotes where the shell would read more into it. */
export function shellWord(word: string): string {
  return /^[\w./@%+=:,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
