/** Commands of this program for messages, with the name by which it was started, quoted for a shell. */
import { shellWord } from './shellWord.ts';

/** The command for programs that import the library: its package manager links this name, while `launch` may belong to another package. */
let program = 'npx lockstep';

/** @param called the shell command that starts this program: `npx launch` */
export function setProgram(called: string): void {
  program = called;
}

/** A command to copy into a shell. @param words its words after the program, unquoted; none: only the program */
export function ownCommand(...words: readonly string[]): string {
  return [program, ...words.map(shellWord)].join(' ');
}
