/**
 * The parser of `launch`: its commands, and the checks before any of them runs. Used by `main.ts`. The module of a command is imported
 * only if the command line names it, so `launch --help` loads none.
 */
import { join } from 'node:path';
import yargs, { type Argv } from 'yargs';
import { UserError } from '../base/errors.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { packageRoot } from '../base/packageRoot.ts';
import { shortPath } from '../base/shortPath.ts';
import { standardInput } from '../base/userPath.ts';
import { benchCommand, benches } from './bench.ts';
import { programName } from './calledAs.ts';
import { checkArguments, refuseTerminator } from './checkArguments.ts';
import { type CommandEntry, loadNamed, namesOf } from './commandEntry.ts';
import { complete, completionEntry, yargsCommand } from './completion.ts';
import type { Known } from './didYouMean.ts';
import { trainCommand } from './trainCommand.ts';

/** In the order of the help, without `completion`, which needs the parser. */
export const commands: readonly CommandEntry[] = [
  { command: ['train', '$0'], describe: 'Train a GPT (the default command)', load: trainCommand },
  {
    command: 'finetune <model> <rows>',
    describe: 'Fine-tune weights on rows: instructions, labels or pairs',
    load: async () => (await import('./finetune.ts')).finetuneCommand,
  },
  {
    command: 'join <address>',
    describe: 'Add workers to a run started elsewhere',
    load: async () => (await import('./join.ts')).joinCommand,
  },
  {
    command: 'cluster',
    describe: 'Run one node of a job of Slurm, MPI or Kubernetes',
    load: async () => (await import('./cluster.ts')).clusterCommand,
  },
  {
    command: 'keys',
    describe: 'Make the keys of a run before it starts',
    load: async () => (await import('./keys.ts')).keysCommand,
  },
  {
    command: 'prepare <sources..>',
    describe: 'Convert text into a folder of tokens to train on',
    load: async () => (await import('./prepare.ts')).prepareCommand,
  },
  {
    command: 'inspect <path>',
    describe: 'Verify prepared data or rows to learn from, and show statistics',
    load: async () => (await import('./inspect.ts')).inspectCommand,
  },
  {
    command: 'generate [checkpoint]',
    describe: 'Continue a prompt with a trained model',
    load: async () => (await import('./generate.ts')).generateCommand,
  },
  {
    command: 'chat [checkpoint]',
    describe: 'Chat with a trained model, or have it continue your texts',
    load: async () => (await import('./chat.ts')).chatCommand,
  },
  {
    command: 'serve [checkpoint]',
    describe: 'Serve a trained model with an OpenAI-compatible API',
    load: async () => (await import('./serve.ts')).serveCommand,
  },
  {
    command: 'eval [checkpoint]',
    describe: 'Compute loss and perplexity, or other measures, on data',
    load: async () => (await import('./evaluate.ts')).evaluateCommand,
  },
  {
    command: 'merge <model>',
    describe: 'Write a model with LoRA adapters as ordinary weights',
    load: async () => (await import('./merge.ts')).mergeCommand,
  },
  {
    command: 'export <model>',
    describe: 'Write the LoRA adapters of a model for PEFT',
    load: async () => (await import('./export.ts')).exportCommand,
  },
  {
    command: 'classify [text]',
    describe: 'Classify texts with a trained classifier',
    load: async () => (await import('./classify.ts')).classifyCommand,
  },
  {
    command: 'plot <runs..>',
    describe: 'Plot curves of one or more runs as SVG or PNG',
    load: async () => (await import('./plot.ts')).plotCommand,
  },
  {
    command: 'report <run>',
    describe: 'Write an HTML page with the curves and events of a run',
    load: async () => (await import('./report.ts')).reportCommand,
  },
  {
    command: 'runs [action] [runs..]',
    describe: 'List, remove or rename the runs in runs/',
    load: async () => (await import('./runs.ts')).runsCommand,
  },
  {
    command: 'bench',
    describe: 'Benchmark steps, generation, the ring and scaling',
    load: benchCommand,
  },
  {
    command: 'dashboard [rundirs..]',
    describe: 'Serve a page with live curves of one or more runs',
    load: async () => (await import('./dashboard.ts')).dashboardCommand,
  },
  {
    command: 'doctor',
    describe: 'Check which engines work on this machine',
    load: async () => (await import('./doctor.ts')).doctorCommand,
  },
];

/** An error from yargs, before a suggestion is added. */
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
 * @throws UserError for an invalid command line, and any error of the command
 */
export async function runCommandLine(typed: readonly string[], version: string): Promise<void> {
  // A line that is completed may be unfinished.
  if (!typed.includes('--get-yargs-completions')) refuseTerminator(typed);
  const parser = await commandLine(typed, version);
  try {
    await parser.parseAsync();
  } catch (error) {
    if (!(error instanceof Complaint)) throw error;
    // Loaded only here, because it loads all config keys.
    const { withGuess } = await import('./didYouMean.ts');
    throw new UserError(`${withGuess(error.message, typed, error.known)}\nSee ${ownCommand('--help')}`);
  }
}

/** Where those who installed the package find what README links to. */
function guidePath(): string {
  return shortPath(join(packageRoot, 'docs', 'guide', 'README.md'), process.cwd());
}

/**
 * The parser; its `parseAsync()` runs the command.
 * @param typed the words after `launch`
 * @param version what `--version` prints
 */
export async function commandLine(typed: readonly string[], version: string): Promise<Argv> {
  // yargs drops a lone dash among several sources.
  const given = typed[0] === 'prepare' ? typed.map((word) => (word === '-' ? standardInput : word)) : [...typed];
  const parser: Argv = yargs(given);
  // The types lack its parameters: the program, and the command that prints the script.
  const { showCompletionScript } = parser as { showCompletionScript(program: string, askedFor: string): void };
  const completion = completionEntry((askedFor) => showCompletionScript.call(parser, programName(), askedFor));
  const all = [...commands, completion];
  return (
    parser
      .scriptName(ownCommand())
      .command(await loadNamed(all, typed))
      .completion(yargsCommand, false, complete)
      .option('debug', {
        type: 'boolean',
        global: true,
        describe: 'Print stack traces and causes with errors',
      })
      .version(version)
      .epilogue(
        `Exit codes: 0 success, 1 failure, 2 invalid input, 85 not finished (cluster), 130 interrupted.\nGuide: ${guidePath()}`,
      )
      .strict()
      // The types lack that the second argument has the options of the command.
      .check((parsed, { boolean }: { boolean?: unknown }) => checkArguments(parsed, typed, boolean as string[]))
      .wrap(Math.min(100, process.stdout.columns || 100))
      .fail((message, error, usage) => {
        // yargs reports its own errors as a message or a YError; a command throws all others.
        if (error !== undefined && error.name !== 'YError') throw error;
        const missing = /^Not enough non-option arguments/.test(message ?? '') ? usageOf(typed, all) : undefined;
        if (missing !== undefined) throw new UserError(`missing argument. Usage: ${missing}`);
        const available = typed[0] === 'bench' ? benches : all;
        throw new Complaint(message ?? error?.message ?? '', {
          commands: available.flatMap((entry) => namesOf(entry).slice(0, 1)),
          options: optionsOf(usage),
        });
      })
  );
}

/** The usage of the typed command: `launch join <address>`. */
function usageOf([name]: readonly string[], entries: readonly CommandEntry[]): string | undefined {
  const [usage] = entries.flatMap(({ command }) => [command].flat()).filter((text) => text.split(' ')[0] === name);
  return usage === undefined ? undefined : `${ownCommand()} ${usage}`;
}

/** Option names of the typed command. `fail` receives yargs' usage object, which has no type. */
function optionsOf(usage: object): string[] {
  const { getDescriptions } = usage as { getDescriptions?: () => Readonly<Record<string, unknown>> };
  return Object.keys(getDescriptions?.() ?? {});
}
