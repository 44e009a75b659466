/** A command before its module is loaded: its line in the help and how to load the rest. */
import type { CommandModule } from 'yargs';
import { InvariantError } from '../base/errors.ts';

/** Options and handler of a command. */
// biome-ignore lint/suspicious/noExplicitAny: yargs' `command` takes modules with arguments of any type.
export type Command = CommandModule<any, any>;

/** The line of a command in the help, and how to load the rest. */
export interface CommandEntry {
  /** With its positionals: `join <address>`. `train` is also the default command, `$0`. */
  readonly command: string | readonly string[];
  readonly describe: string;
  /** @param typed the words after `launch`, for a command with subcommands */
  load(typed: readonly string[]): Promise<Command> | Command;
}

/**
 * The commands for yargs. Those named anywhere in `typed`, and the default command, have their options; the others only have their
 * line in the help. yargs never runs the others, because it selects a command by its name.
 */
export function loadNamed(entries: readonly CommandEntry[], typed: readonly string[]): Promise<Command[]> {
  return Promise.all(
    entries.map(async (entry) => {
      const { command, describe } = entry;
      const isNamed = namesOf(entry).some((name) => name === '$0' || typed.includes(name));
      const body = isNamed ? await entry.load(typed) : notLoaded(entry);
      return { ...body, command, describe };
    }),
  );
}

function notLoaded(entry: CommandEntry): Command {
  return {
    builder: (yargs) => yargs,
    handler: () => {
      throw new InvariantError(`the command ${namesOf(entry)[0]} was run without being loaded`);
    },
  };
}

/** The names of a command: `join <address>` is `join`; `train` is also `$0`. */
export function namesOf({ command }: Pick<CommandEntry, 'command'>): string[] {
  return [command].flat().map((text) => text.split(' ')[0] ?? '');
}
