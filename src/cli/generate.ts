/** `launch generate`: continues a prompt with a trained model. One text is streamed; several are printed one after another. */
import { readFile } from 'node:fs/promises';
import { text as textOf } from 'node:stream/consumers';
import type { ArgumentsCamelCase, Argv, CommandModule } from 'yargs';
import { hasEncoder } from '../architecture/registry.ts';
import { messageOf, UserError } from '../base/errors.ts';
import { countOf } from '../base/numberText.ts';
import { userPath } from '../base/userPath.ts';
import { continueText, continueTextOften, type TextOptions } from '../run/continueText.ts';
import { type LoadedModel, loadModel } from '../run/loadModel.ts';
import { mostLikelyTarget } from '../run/mostLikelyTarget.ts';
import { type BeamArguments, beamsOf, withBeamOptions } from './beamOptions.ts';
import {
  checkpointChoiceOf,
  checkpointPositional,
  engineOptionsOf,
  type ModelArguments,
  numberOption,
  withModelOptions,
} from './options.ts';
import { refuseFile, refuseText } from './refuseAsCheckpoint.ts';
import { checkSampling, type SamplingArguments, samplingOf, withSamplingOptions } from './samplingOptions.ts';

interface GenerateArguments extends ModelArguments, SamplingArguments, BeamArguments {
  readonly prompt: string | undefined;
  readonly 'prompt-file': string | undefined;
  readonly 'num-samples': number;
  readonly cache: boolean;
}

/** Texts generated at once: each has its own key-value cache. */
const samplesTogether = 8;
/** Printed between two texts. */
const separator = '---------------';

export const generateCommand: CommandModule<object, GenerateArguments> = {
  builder: (yargs: Argv<object>) =>
    withBeamOptions(withSamplingOptions(withModelOptions(yargs)))
      .positional('checkpoint', checkpointPositional)
      .option('prompt', {
        type: 'string',
        requiresArg: true,
        describe: "Text to continue or translate; -: stdin [default: the run's]",
      })
      .option('prompt-file', {
        type: 'string',
        requiresArg: true,
        conflicts: 'prompt',
        describe: 'File with the text; translators read each line as a source',
      })
      .option('num-samples', {
        type: 'number',
        requiresArg: true,
        default: 1,
        describe: 'Number of texts; each uses the next seed',
      })
      .option('cache', {
        type: 'boolean',
        default: true,
        describe: 'Cache keys and values; --no-cache recomputes them: slower, equal up to rounding',
      })
      .example('$0 generate', "continue the newest run's own prompt")
      .example('cat start.txt | $0 generate --prompt -', 'continue text from a pipe')
      .example('$0 generate --prompt-file start.txt --num-samples 3', 'three continuations of a file')
      .example('$0 generate --greedy --ignore-eos --stop .', 'the most likely text, up to a full stop')
      .example('$0 generate runs/quickstart --best', 'the checkpoint with the lowest validation loss')
      .example('$0 generate gpt2/ --prompt "Once upon" --min-p 0.05', 'published weights')
      .example('$0 generate runs/translate --prompt forty-two --beams 4', 'a translation'),
  handler: run,
};

async function run(args: ArgumentsCamelCase<GenerateArguments>): Promise<void> {
  const engine = engineOptionsOf(args);
  checkSampling(args);
  numberOption('num-samples', args.numSamples, { min: 1, max: 1e6, whole: true });
  if (args.greedy && args.numSamples > 1) {
    throw new UserError('--greedy always gives the same text, so --num-samples has no effect: omit one of the two');
  }
  const { checkpoint } = args;
  if (checkpoint !== undefined && (args.prompt ?? args.promptFile) === undefined) {
    refuseFile({ command: 'generate', checkpoint, use: '--prompt-file' }, process.cwd());
    await refuseText(checkpoint, process.cwd());
  }
  const beams = beamsOf(args);
  if (beams.beams > 1) checkSearch(args);
  const prompt = await promptOf(args);
  const warn = (message: string): void => void process.stderr.write(`warning: ${message}\n`);
  const loaded = await loadModel({ ...checkpointChoiceOf(args, warn), engine });
  try {
    process.stderr.write(`${loaded.description}\n`);
    const tokenTimesMs = [performance.now()];
    const onToken = () => tokenTimesMs.push(performance.now());
    const options = textOptionsOf({ ...args, prompt }, loaded);
    const isRead = args.prompt === '-' || args.promptFile !== undefined;
    const prompts = isRead && hasEncoder(loaded.model.config) ? sourcesOf(options.prompt) : [options.prompt];
    for (const each of prompts) {
      if (each === '' && prompts.length > 1) {
        process.stdout.write('\n'); // so that line n is the target of line n
      } else if (beams.beams > 1) {
        process.stdout.write(`${await mostLikelyTarget(loaded, { ...options, prompt: each }, beams)}\n`);
      } else {
        await printTexts(loaded, { ...options, prompt: each }, { count: args.numSamples, onToken });
      }
    }
    if (beams.beams === 1) process.stderr.write(`${describeSpeed(tokenTimesMs)}\n`);
  } finally {
    await loaded.engine.dispose();
  }
}

/** The sources of a translator in a text that is read: one in each line. */
export function sourcesOf(text: string): string[] {
  const lines = text.replace(/\r?\n$/, '').split(/\r?\n/);
  return lines.map((line) => (line.trim() === '' ? '' : line)); // blank lines are empty sources
}

async function printTexts(
  loaded: LoadedModel,
  options: TextOptions,
  { count, onToken }: { readonly count: number; readonly onToken: () => void },
): Promise<void> {
  // A target is not the continuation of its source.
  const isTarget = hasEncoder(loaded.model.config);
  if (count === 1) {
    const pieces = continueText(loaded, options, onToken);
    if (isTarget) await pieces.next();
    for await (const piece of pieces) process.stdout.write(piece);
    process.stdout.write('\n');
    return;
  }
  let between = '';
  for await (const { text } of continueTextOften(loaded, options, { count, together: samplesTogether, onToken })) {
    process.stdout.write(`${between}${isTarget ? '' : options.prompt}${text}\n`);
    between = `${separator}\n`;
  }
}

/** A search does not have them. */
const sampledOptions = ['temperature', 'top-k', 'top-p', 'min-p', 'repetition-penalty', 'stop', 'seed'] as const;

/** @throws UserError for an option that has no effect on a search */
export function checkSearch(
  args: Pick<
    ArgumentsCamelCase<GenerateArguments>,
    (typeof sampledOptions)[number] | 'greedy' | 'ignore-eos' | 'numSamples' | 'cache'
  >,
): void {
  const without = sampledOptions.find((name) => args[name] !== undefined);
  const flag = (['greedy', 'ignore-eos'] as const).find((name) => args[name]);
  const option = without ?? flag ?? (args.numSamples > 1 ? 'num-samples' : args.cache ? undefined : 'no-cache');
  if (option !== undefined) throw new UserError(`--beams searches for one text, so --${option} has no effect: omit it`);
}

/** The prompt that the command line gives; undefined if it gives none. */
async function promptOf({ prompt, promptFile }: ArgumentsCamelCase<GenerateArguments>): Promise<string | undefined> {
  if (prompt === '-') return textOf(process.stdin);
  if (promptFile === undefined) return prompt;
  return readFile(userPath(process.cwd(), promptFile), 'utf8').catch((error: unknown) => {
    throw new UserError(`--prompt-file ${promptFile}: cannot be read: ${messageOf(error)}`);
  });
}

/** The command line takes precedence over the config of the run that wrote the checkpoint. */
function textOptionsOf(args: ArgumentsCamelCase<GenerateArguments>, { runConfig }: LoadedModel): TextOptions {
  const prompt = args.prompt ?? runConfig?.sample.prompt ?? '\n';
  return { ...samplingOf(args, runConfig), prompt, useCache: args.cache };
}

/** @param times the start of generation, then the time of each token, in milliseconds */
export function describeSpeed([startMs, ...tokenMs]: readonly number[]): string {
  const [first, last] = [tokenMs[0], tokenMs.at(-1)];
  if (startMs === undefined || first === undefined || last === undefined) return '0 tokens';
  const then =
    tokenMs.length === 1 ? '' : `, then ${((1000 * (tokenMs.length - 1)) / (last - first)).toFixed(1)} per second`;
  return `${countOf(tokenMs.length, 'token')}: the first after ${((first - startMs) / 1000).toFixed(2)} s${then}`;
}
