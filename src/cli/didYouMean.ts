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
 * What is wrong with a command line, in our own words, followed by a suggestion.
 * @param message of yargs: `Unknown argument: wrokers`
 * @param typed the command line
 */
export function withGuess(message: string, typed: readonly string[], known: Known): string {
  const [, kind, names = ''] = /^Unknown (argument|command)s?: (.*)$/s.exec(message) ?? [];
  if (kind === undefined) return inOurWords(message, typed);
  const all = names.split(', ');
  // yargs reports --num-samples twice: as numSamples as well.
  const unknown = all.filter((name) => !all.some((other) => other !== name && camelCase(other) === name));
  // What follows an unknown command is not known to be wrong.
  const wrong = unknown.filter((name) => unknownWord(name, typed).startsWith('unknown command'));
  const reported = wrong.length > 0 ? wrong : unknown;
  const said = reported.map((name) => unknownWord(name, typed)).join(', ');
  const guesses = reported.flatMap((name) => guessOf(name, typed, known) ?? []);
  return guesses.length === 0 ? said : `${said}. Did you mean ${[...new Set(guesses)].join(', ')}?`;
}

function unknownWord(name: string, typed: readonly string[]): string {
  const option = optionTyped(name, typed);
  if (option !== undefined) return `unknown option ${option.split('=', 1)[0]}`;
  return typed[0] === name ? `unknown command ${name}` : `unexpected argument ${name}`;
}

/** The other complaints of yargs. */
function inOurWords(message: string, typed: readonly string[]): string {
  const optionOf = (name: string): string => optionTyped(name, typed)?.split('=', 1)[0] ?? name;
  const listOf = (names: string): string =>
    names
      .split(', ')
      .map((name) => `--${name}`)
      .join(', ');
  const said = (pattern: RegExp, words: (...groups: string[]) => string): string | undefined => {
    const found = pattern.exec(message);
    return found === null ? undefined : words(...found.slice(1));
  };
  return (
    said(/^Not enough arguments following: (.*)$/s, (name) => `${optionOf(name)}: expected a value after it`) ??
    said(/^Missing required arguments?: (.*)$/s, (names) => `expected ${listOf(names)}`) ??
    said(
      /^Arguments (\S+) and (\S+) are mutually exclusive$/,
      (a, b) => `--${a} and --${b} exclude each other: leave one out`,
    ) ??
    said(
      /^Invalid values:\s+Argument: (.*), Given: (.*), Choices: (.*)$/s,
      (name, given, choices) => `${optionOf(name)}: expected one of ${choices.replaceAll('"', '')}, received ${given}`,
    ) ??
    said(/^Not enough non-option arguments/, () => 'missing argument') ??
    said(/^Too many non-option arguments/, () => 'too many arguments') ??
    message
  );
}

/** The option `name` as it was typed: `--name=value`. */
function optionTyped(name: string, typed: readonly string[]): string | undefined {
  // yargs takes `--train.maxSteps=5` for an object `train`.
  const isTyped = new RegExp(`^--?(no-)?${escapeRegExp(name)}([.=].*)?$`, 's');
  return typed.find((word) => isTyped.test(word));
}

function camelCase(name: string): string {
  return name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

function guessOf(name: string, typed: readonly string[], { commands, options }: Known): string | undefined {
  const option = optionTyped(name, typed);
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
