/** The sampling of `generate` and `chat`: the options, their ranges, and their defaults from the config of a run. */
import type { Argv } from 'yargs';
import { UserError } from '../base/errors.ts';
import type { Config } from '../config/configTypes.ts';
import type { TextOptions } from '../run/continueText.ts';
import { numberOption } from './options.ts';

export interface SamplingArguments {
  readonly 'special-tokens': boolean;
  readonly 'ignore-eos': boolean;
  readonly 'max-tokens': number | undefined;
  readonly stop: string | readonly string[] | undefined;
  readonly greedy: boolean;
  readonly temperature: number | undefined;
  readonly 'top-k': number | undefined;
  readonly 'top-p': number | undefined;
  readonly 'min-p': number | undefined;
  readonly 'repetition-penalty': number | undefined;
  readonly seed: number | undefined;
}

/** Used if neither the command line nor the config of a run gives a value. */
const fallback = { maxTokens: 200, temperature: 0.8, topK: 200, topP: 1, seed: 1337 };

export function withSamplingOptions<T>(yargs: Argv<T>): Argv<T & SamplingArguments> {
  return yargs
    .option('special-tokens', {
      type: 'boolean',
      default: false,
      describe: 'Parse <|endoftext|> and other special tokens',
    })
    .option('max-tokens', {
      type: 'number',
      requiresArg: true,
      describe: "Tokens to generate [default: the run's, or 200]",
    })
    .option('stop', {
      type: 'string',
      requiresArg: true,
      describe: 'Stop before this text; can be repeated',
    })
    .option('ignore-eos', {
      type: 'boolean',
      default: false,
      describe: 'Continue after the end-of-text token',
    })
    .option('greedy', {
      type: 'boolean',
      default: false,
      describe: 'Take the most likely token (temperature 0)',
    })
    .option('temperature', {
      type: 'number',
      requiresArg: true,
      describe: "0 is greedy, above 1 is diverse [default: the run's, or 0.8]",
    })
    .option('top-k', {
      type: 'number',
      requiresArg: true,
      describe: "Keep the K most likely tokens; 0: all [default: the run's, or 200]",
    })
    .option('top-p', {
      type: 'number',
      requiresArg: true,
      describe: "Keep tokens up to this total probability [default: the run's, or 1]",
    })
    .option('min-p', {
      type: 'number',
      requiresArg: true,
      describe: 'Keep tokens with this share of the highest probability [default: 0]',
    })
    .option('repetition-penalty', {
      type: 'number',
      requiresArg: true,
      describe: 'Values above 1 discourage repetition [default: 1]',
    })
    .option('seed', {
      type: 'number',
      requiresArg: true,
      describe: `Random seed; the same seed gives the same text [default: ${fallback.seed}]`,
    });
}

/** Checks the options before the model is loaded. @throws UserError for a number out of range or an option without effect */
export function checkSampling(args: SamplingArguments): void {
  const check = (name: string, value: number | undefined, range: Parameters<typeof numberOption>[2]): void => {
    if (value !== undefined) numberOption(name, value, range);
  };
  check('max-tokens', args['max-tokens'], { min: 0, max: 1e9, whole: true });
  check('temperature', args.temperature, { min: 0, max: 100 });
  check('top-k', args['top-k'], { min: 0, max: 2 ** 31, whole: true });
  check('top-p', args['top-p'], { min: 1e-4, max: 1 });
  check('min-p', args['min-p'], { min: 0, max: 1 });
  check('repetition-penalty', args['repetition-penalty'], { min: 0.01, max: 100 });
  check('seed', args.seed, { min: 0, max: 2 ** 32 - 1, whole: true });
  if ([args.stop ?? []].flat().includes('')) throw new UserError('--stop: expected a non-empty text');
  const drawn = (['temperature', 'top-k', 'top-p', 'min-p'] as const).find((name) => args[name] !== undefined);
  if (args.greedy && drawn !== undefined) {
    throw new UserError(`--greedy does not sample, so --${drawn} has no effect: omit one of the two`);
  }
}

/** The command line takes precedence over the config of the run that wrote the checkpoint. */
export function samplingOf(args: SamplingArguments, runConfig: Config | undefined) {
  const sample = runConfig?.sample ?? fallback;
  return {
    specialTokens: args['special-tokens'],
    ignoreEos: args['ignore-eos'],
    // A run without a sample has 0 here, but this command must generate text.
    maxTokens: args['max-tokens'] ?? (sample.maxTokens || fallback.maxTokens),
    temperature: args.greedy ? 0 : (args.temperature ?? sample.temperature),
    topK: args['top-k'] ?? sample.topK,
    topP: args['top-p'] ?? sample.topP,
    minP: args['min-p'] ?? 0,
    repetitionPenalty: args['repetition-penalty'] ?? 1,
    seed: args.seed ?? fallback.seed,
    stop: [args.stop ?? []].flat(),
  } satisfies Omit<TextOptions, 'prompt'>;
}
