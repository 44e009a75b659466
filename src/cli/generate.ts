/** `launch generate`: continues a prompt with a trained model, printing the text as it comes. */
import { text as textOf } from 'node:stream/consumers';
import type { ArgumentsCamelCase, Argv, CommandModule } from 'yargs';
import { continueText, type TextOptions } from '../run/continueText.ts';
import { type LoadedModel, loadModel } from '../run/loadModel.ts';
import { checkpointChoiceOf, engineOptionsOf, type ModelArguments, numberOption, withModelOptions } from './options.ts';

interface GenerateArguments extends ModelArguments {
  readonly prompt: string | undefined;
  readonly 'special-tokens': boolean;
  readonly 'max-tokens': number | undefined;
  readonly temperature: number | undefined;
  readonly 'top-k': number | undefined;
  readonly 'top-p': number | undefined;
  readonly seed: number;
  readonly cache: boolean;
}

/** What is taken where neither the command line nor a run's config says otherwise. */
const fallback = { prompt: '\n', maxTokens: 200, temperature: 0.8, topK: 200, topP: 1 };

export const generateCommand: CommandModule<object, GenerateArguments> = {
  builder: (yargs: Argv<object>) =>
    withModelOptions(yargs)
      .option('prompt', {
        type: 'string',
        requiresArg: true,
        describe: "Text to continue; - reads it from standard input [default: the run's, or a new line]",
      })
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
      })
      .option('cache', {
        type: 'boolean',
        default: true,
        describe: 'Keep keys and values; --no-cache recomputes them: slower, the same tokens but for rounding',
      })
      .example('$0 generate', "continue the newest run's own prompt")
      .example('cat start.txt | $0 generate --prompt -', 'continue what is piped in')
      .example('$0 generate --checkpoint runs/quickstart', "continue the run's own prompt with its newest checkpoint")
      .example('$0 generate --checkpoint runs/quickstart --best', 'with the checkpoint of its lowest validation loss')
      .example('$0 generate --checkpoint gpt2/ --prompt "Once upon" --temperature 0', 'greedy, with published weights'),
  handler: run,
};

async function run(args: ArgumentsCamelCase<GenerateArguments>): Promise<void> {
  const engine = engineOptionsOf(args);
  checkNumbers(args);
  const prompt = args.prompt === '-' ? await textOf(process.stdin) : args.prompt;
  const warn = (message: string): void => void process.stderr.write(`warning: ${message}\n`);
  const loaded = await loadModel({ ...checkpointChoiceOf(args, warn), engine });
  try {
    process.stderr.write(`${loaded.description}\n`);
    const tokenTimesMs = [performance.now()];
    const onToken = () => tokenTimesMs.push(performance.now());
    for await (const piece of continueText(loaded, textOptionsOf({ ...args, prompt }, loaded), onToken))
      process.stdout.write(piece);
    process.stdout.write('\n');
    process.stderr.write(`${describeSpeed(tokenTimesMs)}\n`);
  } finally {
    await loaded.engine.dispose();
  }
}

/** Before a model is loaded, which may take a while. */
function checkNumbers(args: ArgumentsCamelCase<GenerateArguments>): void {
  const check = (name: string, value: number | undefined, range: Parameters<typeof numberOption>[2]): void => {
    if (value !== undefined) numberOption(name, value, range);
  };
  check('max-tokens', args.maxTokens, { min: 0, max: 1e9, whole: true });
  check('temperature', args.temperature, { min: 0, max: 100 });
  check('top-k', args.topK, { min: 0, max: 2 ** 31, whole: true });
  check('top-p', args.topP, { min: 1e-4, max: 1 });
  check('seed', args.seed, { min: 0, max: 2 ** 32 - 1, whole: true });
}

/** The command line wins over the config of the run that wrote the checkpoint. */
function textOptionsOf(args: ArgumentsCamelCase<GenerateArguments>, { runConfig }: LoadedModel): TextOptions {
  const sample = runConfig?.sample ?? fallback;
  return {
    prompt: args.prompt ?? sample.prompt,
    specialTokens: args.specialTokens,
    // A run that prints no sample has 0 there, which nobody who asks for text means.
    maxTokens: args.maxTokens ?? (sample.maxTokens || fallback.maxTokens),
    temperature: args.temperature ?? sample.temperature,
    topK: args.topK ?? sample.topK,
    topP: args.topP ?? sample.topP,
    seed: args.seed,
    useCache: args.cache,
  };
}

/** From the time at which generation began and that of each token, in milliseconds. */
export function describeSpeed([startMs, ...tokenMs]: readonly number[]): string {
  const [first, last] = [tokenMs[0], tokenMs.at(-1)];
  if (startMs === undefined || first === undefined || last === undefined) return '0 tokens';
  const then =
    tokenMs.length === 1 ? '' : `, then ${((1000 * (tokenMs.length - 1)) / (last - first)).toFixed(1)} a second`;
  const count = `${tokenMs.length} ${tokenMs.length === 1 ? 'token' : 'tokens'}`;
  return `${count}: the first after ${((first - startMs) / 1000).toFixed(2)} s${then}`;
}
