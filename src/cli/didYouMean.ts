/** For a command or an option that does not exist: the nearest one that does. */
import { escapeRegExp } from '../base/escapeRegExp.ts';
import { configKey, nearest, nearestKey } from '../config/keys.ts';

export interface Known {
  /** Commands where the mistyped word stands: `train`, or those of `bench`. */
  readonly commands: readonly string[];
  /** Options of the command, without dashes. */
  readonly options: readonly string[];
}

/**
 * What yargs says, and after it what was probably meant.
 * @param message of yargs: `Unknown argument: wrokers`
 * @param typed the command line
 */
export function withGuess(message: string, typed: readonly string[], known: Known): string {
  const [, kind, names = ''] = /^Unknown (argument|command)s?: (.*)$/s.exec(message) ?? [];
  if (kind === undefined) return message;
  const all = names.split(', ');
  // Of --num-samples yargs complains twice: of numSamples as well.
  const unknown = all.filter((name) => !all.some((other) => other !== name && camelCase(other) === name));
  const said = `Unknown ${kind}${unknown.length === 1 ? '' : 's'}: ${unknown.join(', ')}`;
  const guesses = unknown.flatMap((name) => guessOf(name, typed, known) ?? []);
  return guesses.length === 0 ? said : `${said}. Did you mean ${[...new Set(guesses)].join(', ')}?`;
}

function camelCase(name: string): string {
  return name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

function guessOf(name: string, typed: readonly string[], { commands, options }: Known): string | undefined {
  // yargs takes `--train.maxSteps=5` for an object `train`.
  const isTyped = (word: string) => new RegExp(`^--?(no-)?${escapeRegExp(name)}([.=].*)?$`, 's').test(word);
  const option = typed.find(isTyped);
  if (option === undefined) {
    // What follows `--set` up to the next option is its: a key after that option is on its own.
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

/** Two letters that changed places are two mistakes by distance, which is too many for a short word. */
function nearestWord(word: string, known: readonly string[]): string | undefined {
  const letters = (text: string) => [...text].sort().join('');
  return (
    nearest(word, known, (candidate) => candidate) ?? known.find((candidate) => letters(candidate) === letters(word))
  );
}
