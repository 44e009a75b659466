/** Suggestions for unknown commands and options: what people who know other programs mean by them, or the nearest known one. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { escapeRegExp } from '../base/escapeRegExp.ts';
import { nearestWord } from '../base/nearest.ts';
import { shellWord } from '../base/shellWord.ts';
import { configKey, nearestKey } from '../config/keys.ts';
import { engineHint, engineMeant } from '../engine/engines.ts';

export interface Known {
  /** Commands at the place of the mistyped word: those of `launch`, or those of `bench`. */
  readonly commands: readonly string[];
  /** Options of the command, without dashes. */
  readonly options: readonly string[];
}

/** The keys for which other programs have these options. */
const keysMeant: Readonly<Record<string, string>> = {
  engine: 'engine.name',
  data: 'data.text',
  dataset: 'data.text',
  text: 'data.text',
  steps: 'train.maxSteps',
  lr: 'schedule.learningRate',
  'batch-size': 'train.globalBatchSize',
};

/** What other programs call the option `--checkpoint`. */
const checkpointMeant: readonly string[] = ['run', 'run-dir', 'runDir', 'model', 'weights', 'ckpt', 'model-path'];

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
  const letters = lettersTyped(reported, typed);
  if (letters !== undefined) {
    const isKnown = known.options.includes(letters.slice(1));
    const guess = isKnown ? `-${letters}` : guessOfOption(letters, typed, known);
    const path = `A path that starts with a dash is typed as ${shellWord(`./${letters}`)}`;
    return `unknown option ${letters.split('=', 1)[0]}. ${guess === undefined ? path : `Did you mean ${guess}?`}`;
  }
  const said = reported.map((name) => unknownWord(name, typed)).join(', ');
  const words = reported.filter((name) => optionTyped(name, typed) === undefined);
  // The words of one text are one guess.
  const apart = known.options.includes('prompt') ? words.slice(1) : [];
  const guesses = reported.flatMap((name) => (apart.includes(name) ? [] : (guessOf(name, typed, known) ?? [])));
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
    said(/^Invalid values:\s+Argument: (.*), Given: (.*), Choices: (.*)$/s, (name, given, choices) => {
      const hint = name === 'engine' ? engineHint(given.replaceAll('"', '')) : undefined;
      const wrong = `${optionOf(name)}: expected one of ${choices.replaceAll('"', '')}, received ${given}`;
      return hint === undefined ? wrong : `${wrong}. ${hint}`;
    }) ??
    said(/^Not enough non-option arguments/, () => 'missing argument') ??
    said(/^Too many non-option arguments/, () => 'too many arguments') ??
    message
  );
}

/** The word that yargs takes for single letters, each an option: `-name`. */
function lettersTyped(unknown: readonly string[], typed: readonly string[]): string | undefined {
  const letters = unknown.filter((name) => name.length === 1 && optionTyped(name, typed) === undefined);
  return typed.find((word) => /^-[^-\d][^=]/.test(word) && letters.some((letter) => word.includes(letter)));
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

function guessOf(name: string, typed: readonly string[], known: Known): string | undefined {
  const option = optionTyped(name, typed);
  return option === undefined ? guessOfWord(name, typed, known) : guessOfOption(option, typed, known);
}

function guessOfWord(name: string, typed: readonly string[], { commands, options }: Known): string | undefined {
  // `--set` takes all words up to the next option; a key after that option lacks its `--set`.
  const path = /^(\w+\.\w+)=/.exec(name)?.[1];
  const key = path === undefined ? undefined : nearestKey(path);
  if (key !== undefined) return `--set ${key}${name.slice(name.indexOf('='))}`;
  if (typed[0] !== name) {
    if (options.includes('prompt')) return guessOfPrompt(name, typed);
    const command = nearestWord(name, commands);
    if (command !== undefined) return command === name ? undefined : command;
    return options.includes('config') ? guessOfPath(name) : undefined;
  }
  if (options.includes(name)) return [`--${name}`, ...wordsAfter(name, typed).slice(0, 1).map(shellWord)].join(' ');
  return nearestWord(name, commands) ?? guessOfPath(name);
}

/** The text that a command with a run as its only argument was given as several words, perhaps after a run. */
function guessOfPrompt(unexpected: string, typed: readonly string[]): string | undefined {
  const at = typed.indexOf(unexpected);
  const [first = '', before = ''] = [typed[at - 1], typed[at - 2]];
  // Only the first unexpected word follows the argument at once; that may be the value of an option, too.
  if (first.startsWith('-') || before.startsWith('-')) return undefined;
  const isRun = first.includes('/') || existsSync(first);
  const words = isRun ? [unexpected, ...wordsAfter(unexpected, typed)] : [first, ...wordsAfter(first, typed)];
  return `--prompt ${shellWord(words.join(' '))}`;
}

/** What a file or a run without an option is meant for. */
function guessOfPath(path: string): string | undefined {
  if (/\.ya?ml$/.test(path)) return `--config ${shellWord(path)}`;
  if (existsSync(join(path, 'checkpoints'))) return `--resume ${shellWord(path)}`;
  return existsSync(path) ? `--set ${shellWord(`data.text=${path}`)}` : undefined;
}

function guessOfOption(option: string, typed: readonly string[], { options }: Known): string | undefined {
  const [, path = '', attached] = /^--?([^=]*)(?:=(.*))?$/s.exec(option) ?? [];
  const value = attached ?? wordsAfter(option, typed)[0];
  const engine = engineMeant(path) ?? (/^(engine|device)$/.test(path) ? engineMeant(value ?? '') : undefined);
  if (engine !== undefined && options.includes('engine')) return `--engine ${engine}`;
  if (options.includes('set')) {
    if (engine !== undefined) return `--set engine.name=${engine}`;
    const nearest = nearestKey(path);
    const isKey = path.includes('.') || (configKey(nearest ?? '')?.name ?? '') === camelCase(path);
    const key = Object.hasOwn(keysMeant, path) ? keysMeant[path] : isKey ? nearest : undefined;
    if (key !== undefined) return `--set ${value === undefined ? `${key}=…` : shellWord(`${key}=${value}`)}`;
  }
  if (options.includes('checkpoint') && checkpointMeant.includes(path)) {
    return ['--checkpoint', ...(value === undefined ? [] : [shellWord(value)])].join(' ');
  }
  const guess = nearestWord(path, options);
  return guess === undefined ? undefined : `--${guess}`;
}

/** The words between `word` and the next option. */
function wordsAfter(word: string | undefined, typed: readonly string[]): readonly string[] {
  const after = typed.slice(typed.indexOf(word ?? '') + 1);
  const end = after.findIndex((each) => each.startsWith('-'));
  return end < 0 ? after : after.slice(0, end);
}
