/**
 * The parser of `launch`: its commands, and what is refused before any of them runs. Used by `main.ts`. A command's module, with its
 * options and all that it needs to run, is imported only where the command line names it: `launch --help` waits for none.
 */
import yargs, { type Argv } from 'yargs';
import { UserError } from '../base/errors.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { standardInput } from '../base/userPath.ts';
import { benchCommand, benches } from './bench.ts';
import { programName } from './calledAs.ts';
import { checkArguments } from './checkArguments.ts';
import { type CommandEntry, loadNamed, namesOf } from './commandEntry.ts';
import { complete, completionEntry, yargsCommand } from './completion.ts';
import type { Known } from './didYouMean.ts';
import { trainCommand } from './trainCommand.ts';

/** In the order of the help. All but `completion`, which asks the parser. */
export const commands: readonly CommandEntry[] = [
  { command: ['train', '$0'], describe: 'Train a GPT (the default command)', load: () => trainCommand },
  {
    command: 'join <address>',
    describe: 'Add workers to a run that listens elsewhere',
    load: async () => (await import('./join.ts')).joinCommand,
  },
  {
    command: 'prepare <sources..>',
    describe: 'Turn text into a folder of tokens to train on (data.shards)',
    load: async () => (await import('./prepare.ts')).prepareCommand,
  },
  {
    command: 'inspect <dir>',
    describe: 'Verify prepared data; show counts, histograms and samples',
    load: async () => (await import('./inspect.ts')).inspectCommand,
  },
  {
    command: 'generate',
    describe: 'Continue a prompt with a trained model',
    load: async () => (await import('./generate.ts')).generateCommand,
  },
  {
    command: 'chat [checkpoint]',
    describe: 'Type texts and let a trained model continue them, in turns',
    load: async () => (await import('./chat.ts')).chatCommand,
  },
  {
    command: 'serve [checkpoint]',
    describe: 'Serve a trained model over HTTP, as OpenAI does, with a page to type in',
    load: async () => (await import('./serve.ts')).serveCommand,
  },
  {
    command: 'eval',
    describe: 'Mean loss and perplexity over a whole split',
    load: async () => (await import('./evaluate.ts')).evaluateCommand,
  },
  {
    command: 'plot <runs..>',
    describe: 'Draw curves of one or several runs as SVG or PNG',
    load: async () => (await import('./plot.ts')).plotCommand,
  },
  {
    command: 'report <run>',
    describe: 'Write one HTML page: curves, timings, samples, events, configuration of a run',
    load: async () => (await import('./report.ts')).reportCommand,
  },
  {
    command: 'runs [action] [runs..]',
    describe: 'List the runs in runs/, remove some, or give one another name',
    load: async () => (await import('./runs.ts')).runsCommand,
  },
  {
    command: 'bench',
    describe: 'Measure training steps, generation, the ring and scaling',
    load: benchCommand,
  },
  {
    command: 'dashboard [rundirs..]',
    describe: 'A page with the curves of runs, running or finished, several for comparison',
    load: async () => (await import('./dashboard.ts')).dashboardCommand,
  },
  {
    command: 'doctor',
    describe: 'Show which engines this machine has, and what is missing and why',
    load: async () => (await import('./doctor.ts')).doctorCommand,
  },
];

/** What yargs does not understand, before it is known what may have been meant. */
class Complaint extends Error {
  readonly known: Known;
  constructor(message: string, known: Known) {
    super(message);
    this.known = known;
  }
}

/**
 * Runs the command that was typed.
 * @param typed the words after `launch`
 * @param version what `--version` prints
 * @throws UserError for a command line that means nothing, and whatever the command throws
 */
export async function runCommandLine(typed: readonly string[], version: string): Promise<void> {
  const parser = await commandLine(typed, version);
  try {
    await parser.parseAsync();
  } catch (error) {
    if (!(error instanceof Complaint)) throw error;
    // It knows all keys of the config, which takes a while to load.
    const { withGuess } = await import('./didYouMean.ts');
    throw new UserError(`${withGuess(error.message, typed, error.known)}\nSee ${ownCommand('--help')}`);
  }
}

/**
 * The parser; its `parseAsync()` runs the command.
 * @param typed the words after `launch`
 * @param version what `--version` prints
 */
export async function commandLine(typed: readonly string[], version: string): Promise<Argv> {
  // yargs loses a lone dash among several sources.
  const given = typed[0] === 'prepare' ? typed.map((word) => (word === '-' ? standardInput : word)) : [...typed];
  const parser: Argv = yargs(given);
  // The types do not know its parameters: the program, and how the script is asked for.
  const { showCompletionScript } = parser as { showCompletionScript(program: string, askedFor: string): void };
  const completion = completionEntry((askedFor) => showCompletionScript.call(parser, programName(), askedFor));
  const all = [...commands, completion];
  return parser
    .scriptName(ownCommand())
    .command(await loadNamed(all, typed))
    .completion(yargsCommand, false, complete)
    .option('debug', {
      type: 'boolean',
      global: true,
      describe: 'Show of every error where it came from, and its causes',
    })
    .version(version)
    .epilogue('Exit codes: 0 done, 1 the run or the command failed, 2 wrong input, 130 interrupted (Ctrl-C).')
    .strict()
    .check((parsed) => checkArguments(parsed, typed))
    .wrap(Math.min(120, process.stdout.columns ?? 100))
    .fail((message, error, usage) => {
      // yargs' own complaints come with a message alone, or as a YError; all others are thrown by a command.
      if (error !== undefined && error.name !== 'YError') throw error;
      const missing = /^Not enough non-option arguments/.test(message ?? '') ? usageOf(typed, all) : undefined;
      if (missing !== undefined) throw new UserError(`expected ${missing}, received no more than "${typed.join(' ')}"`);
      const there = typed[0] === 'bench' ? benches : all;
      throw new Complaint(message ?? error?.message ?? '', {
        commands: there.flatMap((entry) => namesOf(entry).slice(0, 1)),
        options: optionsOf(usage),
      });
    });
}

/** How the command that was given is called: `launch join <address>`. */
function usageOf([name]: readonly string[], entries: readonly CommandEntry[]): string | undefined {
  const [usage] = entries.flatMap(({ command }) => [command].flat()).filter((text) => text.split(' ')[0] === name);
  return usage === undefined ? undefined : `${ownCommand()} ${usage}`;
}

/** Names of the options of the command that was given: what `fail` gets is yargs' usage, for which there is no type. */
function optionsOf(usage: object): string[] {
  const { getDescriptions } = usage as { getDescriptions?: () => Readonly<Record<string, unknown>> };
  return Object.keys(getDescriptions?.() ?? {});
}
