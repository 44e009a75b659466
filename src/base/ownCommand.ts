/** Commands of this program for messages, with the name by which it was started, quoted for a shell, and the names of its settings. */
import { shellWord } from './shellWord.ts';

/** The command for programs that import the library: its package manager links this name, while `launch` may belong to another package. */
let program = 'npx lockstep';
/** Whether a person reads the messages who typed options, not a program that passed properties. */
let isTyped = false;

/** Called by the program before any command runs. @param called the shell command that starts it: `npx launch` */
export function setProgram(called: string): void {
  program = called;
  isTyped = true;
}

/** A command to copy into a shell. @param words its words after the program, unquoted; none: only the program */
export function ownCommand(...words: readonly string[]): string {
  return [program, ...words.map(shellWord)].join(' ');
}

/**
 * An option of `launch` as the reader gives it: `--run-dir`, or `runDir` in a program; `--no-encrypt`, or `encrypt: false`.
 * @param name without dashes at its start
 */
export function optionName(name: string): string {
  if (isTyped) return `--${name}`;
  if (name.startsWith('no-')) return `${optionName(name.slice(3))}: false`;
  return name.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** An override as the reader gave it: `--set train.maxSteps=9`, or `overrides: train.maxSteps=9` in a program. */
export function overrideText(text: string): string {
  return `${isTyped ? '--set' : 'overrides:'} ${text}`;
}

/**
 * How the reader gives a setting a value: `--set data.text=PATH`, or `data.text=PATH` in a program; `--data PATH`.
 * @param setting a key of the config, or an option with its dashes
 */
export function settingText(setting: string, value: string): string {
  if (setting.includes('.')) return `${isTyped ? '--set ' : ''}${setting}=${value}`;
  return `${setting} ${value}`;
}
