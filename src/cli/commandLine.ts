/** The parser of `launch`: its commands, and what is refused before any of them runs. Used by `main.ts`, which runs what it says. */
import yargs, { type Argv, type CommandModule } from 'yargs';
import { UserError } from '../base/errors.ts';
import { standardInput } from '../data/prepare/sources.ts';
import { benchGenerateCommand } from './benchGenerate.ts';
import { benchRingCommand } from './benchRing.ts';
import { benchScalingCommand } from './benchScaling.ts';
import { benchStepCommand } from './benchStep.ts';
import { checkArguments } from './checkArguments.ts';
import { complete, completionCommand, yargsCommand } from './completion.ts';
import { dashboardCommand } from './dashboard.ts';
import { withGuess } from './didYouMean.ts';
import { doctorCommand } from './doctor.ts';
import { evaluateCommand } from './evaluate.ts';
import { generateCommand } from './generate.ts';
import { inspectCommand } from './inspect.ts';
import { joinCommand } from './join.ts';
import { plotCommand } from './plot.ts';
import { prepareCommand } from './prepare.ts';
import { reportCommand } from './report.ts';
import { trainCommand } from './train.ts';

// biome-ignore lint/suspicious/noExplicitAny: what yargs' own `command` takes, modules with arguments of any type.
type Command = CommandModule<object, any>;

/** In the order of the help. */
export const benches: readonly Command[] = [
  benchStepCommand,
  benchGenerateCommand,
  benchRingCommand,
  benchScalingCommand,
];

const benchCommand = {
  command: 'bench',
  describe: 'Measure training steps, generation, the ring and scaling',
  builder: (yargs: Argv) =>
    yargs
      .command([...benches])
      .demandCommand(1, 'Name what to measure.')
      .example('$0 bench step --steps 5', 'each of them has examples of its own: $0 bench ring --help'),
  handler: () => undefined,
} satisfies Command;

/** All but `bench`'s own, and `completion`, which asks the parser. */
export const commands: readonly Command[] = [
  trainCommand,
  joinCommand,
  prepareCommand,
  inspectCommand,
  generateCommand,
  evaluateCommand,
  plotCommand,
  reportCommand,
  benchCommand,
  dashboardCommand,
  doctorCommand,
];

/**
 * The parser; its `parseAsync()` runs the command.
 * @param typed the words after `launch`
 * @param version what `--version` prints
 * @throws (by `parseAsync`) UserError for a command line that means nothing, and whatever the command throws
 */
export function commandLine(typed: readonly string[], version: string): Argv {
  // yargs loses a lone dash among several sources.
  const given = typed[0] === 'prepare' ? typed.map((word) => (word === '-' ? standardInput : word)) : [...typed];
  const parser: Argv = yargs(given);
  // The types do not know its parameters: the program, and how the script is asked for.
  const { showCompletionScript } = parser as { showCompletionScript(program: string, askedFor: string): void };
  const all = [...commands, completionCommand((askedFor) => showCompletionScript.call(parser, 'launch', askedFor))];
  return parser
    .scriptName('launch')
    .command(all)
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
      const there = { commands: namesOf(typed[0] === 'bench' ? benches : all), options: optionsOf(usage) };
      throw new UserError(`${withGuess(message ?? error?.message ?? '', typed, there)}\nSee launch --help.`);
    });
}

/** How the command that was given is called: `launch join <address>`. */
function usageOf([name]: readonly string[], modules: readonly Command[]): string | undefined {
  const [usage] = modules
    .flatMap(({ command }) => [command ?? []].flat())
    .filter((text) => text.split(' ')[0] === name);
  return usage === undefined ? undefined : `launch ${usage}`;
}

/** Names of the options of the command that was given: what `fail` gets is yargs' usage, for which there is no type. */
function optionsOf(usage: object): string[] {
  const { getDescriptions } = usage as { getDescriptions?: () => Readonly<Record<string, unknown>> };
  return Object.keys(getDescriptions?.() ?? {});
}

/** `join <address>` is called join; `train` is also the default command, `$0`. */
export function namesOf(modules: readonly Command[]): string[] {
  return modules.flatMap(({ command }) => [command ?? []].flat().slice(0, 1)).map((text) => text.split(' ')[0] ?? '');
}
