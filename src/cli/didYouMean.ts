/** Suggestions for unknown commands and options: the nearest known one. */
import { escapeRegExp } from '../base/escapeRegExp.ts';
import { nearestWord } from '../base/nearest.ts';
import { configKey, nearestKey } from '../config/keys.ts';

export interface Known {
  /** Commands at the place of the mistyped word: those of `launch`, or those of `bench`. */
  readonly commands: readonly string[];
  /** Options of the command, without dashes. */
  readonly options: readonly string[];
}

/**
 * The message of yargs, followed by a suggestion.
 * @param message of yargs: `Unknown argument: wrokers`
 * @param typed the command line
 */
export function withGuess(message: string, typed: readonly string[], known: Known): string {
  const [, kind, names = ''] = /^Unknown (argument|command)s?: (.*)$/s.exec(message) ?? [];
  if (kind === undefined) return message;
  const all = names.split(', ');
  // yargs reports --num-samples twice: as numSamples as well.
  const unknown = all.filter((name) => !all.some((other) => other !== name && camelCase(other) === name));
  const said = `Unknown ${kind}${unknown.length === 1 ? '' : 's'}: ${unknown.join(', ')}`;
  const guesses = unknown.flatMap((name) => guessOf(name, typed, known) ?? []);
  return guesses.length === 0 ? said : `${said}. Did you mean ${[...new Set(guesses)].join(', ')}?`;
}

function camelCase(name: string): string {
  return name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

function guessOf(name: string, typed: readonly string[], { commands, options }: Known): string | undefined {
  // yargs parses `--train.maxSteps=5` as an object `train`.
  const isTyped = (word: string) => new RegExp(`^--?(no-)?${escapeRegExp(name)}([.=].*)?$`, 's').test(word);
  const option = typed.find(isTyped);
  if (option === undefined) {
    // `--set` takes all words up to the next option; a key after that option lacks its `--set`.
    const path = /^(\w+\.\w+)=/.exec(name)?.[1];
    const key = path === undefined ? undefined : nearestKey(path);
    return key === undefined ? nearestWord(name, commands) : `--set ${key}${name.slice(name.indexOf('='))}`;
  }
  const [, path = '', value] = /^--?([^=]*)(=.*)?$/s.exec(option) ?? [];
  if (path.includes('.') || configKey(nearestKey(path) ?? '')?.name === path) {
    const key = nearestKey(path);
    if (key !== undefined) return `--set ${key}${value ?? '=…'}`;
  }
  const guess = nearestWord(path, options);
  return guess === undefined ? undefined : `--${guess}`;
}
