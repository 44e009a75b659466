/** How `generate` and `chat` draw their texts: the options, their ranges, and what a run's config says where they are left out. */
import type { Argv } from 'yargs';
import { UserError } from '../base/errors.ts';
import type { Config } from '../config/configTypes.ts';
import type { TextOptions } from '../run/continueText.ts';
import { numberOption } from './options.ts';

export interface SamplingArguments {
  readonly 'special-tokens': boolean;
  readonly 'max-tokens': number | undefined;
  readonly stop: string | readonly string[] | undefined;
  readonly greedy: boolean;
  readonly temperature: number | undefined;
  readonly 'top-k': number | undefined;
  readonly 'top-p': number | undefined;
  readonly seed: number;
}

/** What is taken where neither the command line nor a run's config says otherwise. */
const fallback = { maxTokens: 200, temperature: 0.8, topK: 200, topP: 1 };

export function withSamplingOptions<T>(yargs: Argv<T>): Argv<T & SamplingArguments> {
  return yargs
    .option('special-tokens', {
      type: 'boolean',
      default: false,
      describe: 'Names of special tokens in the prompt, like <|endoftext|>, stand for them',
    })
    .option('max-tokens', {
      type: 'number',
      requiresArg: true,
      describe: "Tokens to generate [default: the run's, or 200]",
    })
    .option('stop', {
      type: 'string',
      requiresArg: true,
      describe: 'End a text before this one comes; may be given several times',
    })
    .option('greedy', {
      type: 'boolean',
      default: false,
      describe: 'Take the likeliest token each time, as --temperature 0',
    })
    .option('temperature', {
      type: 'number',
      requiresArg: true,
      describe: "Below 1 likelier tokens, above 1 more variety, 0 always the likeliest [default: the run's, or 0.8]",
    })
    .option('top-k', {
      type: 'number',
      requiresArg: true,
      describe: "Draw from the K likeliest only; 0 from all [default: the run's, or 200]",
    })
    .option('top-p', {
      type: 'number',
      requiresArg: true,
      describe: "Draw from the likeliest that together have this probability [default: the run's, or 1: all]",
    })
    .option('seed', {
      type: 'number',
      requiresArg: true,
      default: 1337,
      describe: 'The same seed gives the same text',
    });
}

/** Before a model is loaded, which may take a while. @throws UserError for a number out of its range, options without effect */
export function checkSampling(args: SamplingArguments): void {
  const check = (name: string, value: number | undefined, range: Parameters<typeof numberOption>[2]): void => {
    if (value !== undefined) numberOption(name, value, range);
  };
  check('max-tokens', args['max-tokens'], { min: 0, max: 1e9, whole: true });
  check('temperature', args.temperature, { min: 0, max: 100 });
  check('top-k', args['top-k'], { min: 0, max: 2 ** 31, whole: true });
  check('top-p', args['top-p'], { min: 1e-4, max: 1 });
  check('seed', args.seed, { min: 0, max: 2 ** 32 - 1, whole: true });
  if ([args.stop ?? []].flat().includes('')) throw new UserError('--stop: expected a text that is not empty');
  const drawn = (['temperature', 'top-k', 'top-p'] as const).find((name) => args[name] !== undefined);
  if (args.greedy && drawn !== undefined) {
    throw new UserError(`--greedy draws nothing, so --${drawn} has no effect: leave out one of the two`);
  }
}

/** The command line wins over the config of the run that wrote the checkpoint. */
export function samplingOf(args: SamplingArguments, runConfig: Config | undefined) {
  const sample = runConfig?.sample ?? fallback;
  return {
    specialTokens: args['special-tokens'],
    // A run that prints no sample has 0 there, which nobody who asks for text means.
    maxTokens: args['max-tokens'] ?? (sample.maxTokens || fallback.maxTokens),
    temperature: args.greedy ? 0 : (args.temperature ?? sample.temperature),
    topK: args['top-k'] ?? sample.topK,
    topP: args['top-p'] ?? sample.topP,
    seed: args.seed,
    stop: [args.stop ?? []].flat(),
  } satisfies Omit<TextOptions, 'prompt'>;
}
