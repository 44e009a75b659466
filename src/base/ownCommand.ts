/** Commands of this program as messages show them: called as it was called, and quoted for a shell. */
import { shellWord } from './shellWord.ts';

/** What a program that imports the library can run: its package manager links this command, and `launch` may be another's. */
let program = 'npx lockstep';

/** @param called how a person starts this program again, as a shell takes it: `npx launch` */
export function setProgram(called: string): void {
  program = called;
}

/** A command to copy into a shell. @param words its words after the program, not yet quoted; none: the program alone */
export function ownCommand(...words: readonly string[]): string {
  return [program, ...words.map(shellWord)].join(' ');
}
