/** A command before its module is loaded: what a help says of it, and where the rest is. */
import type { CommandModule } from 'yargs';
import { InvariantError } from '../base/errors.ts';

/** Options and handler of a command. */
// biome-ignore lint/suspicious/noExplicitAny: what yargs' own `command` takes, modules with arguments of any type.
export type Command = CommandModule<any, any>;

/** A line of a help, and where the rest of the command is. */
export interface CommandEntry {
  /** With its positionals: `join <address>`. `train` is also the default command, `$0`. */
  readonly command: string | readonly string[];
  readonly describe: string;
  /** @param typed the words after `launch`, for a command that has commands of its own */
  load(typed: readonly string[]): Promise<Command> | Command;
}

/**
 * For yargs: the commands that are named anywhere in `typed`, and the default command, with their options; of all others what a help
 * says. yargs runs none of these, since it takes a command from a word that is its name.
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
      throw new InvariantError(`the command ${namesOf(entry)[0]} is run, but was not loaded`);
    },
  };
}

/** What a command is called: `join <address>` is `join`; `train` is also `$0`. */
export function namesOf({ command }: Pick<CommandEntry, 'command'>): string[] {
  return [command].flat().map((text) => text.split(' ')[0] ?? '');
}
