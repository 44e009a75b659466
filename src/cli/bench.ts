/** `launch bench`: the commands that measure. */
import type { Argv } from 'yargs';
import { type Command, type CommandEntry, loadNamed } from './commandEntry.ts';

/** In the order of the help. */
export const benches: readonly CommandEntry[] = [
  {
    command: 'step',
    describe: 'Time training steps of one replica on random tokens, by phase and by kernel',
    load: async () => (await import('./benchStep.ts')).benchStepCommand,
  },
  {
    command: 'generate',
    describe: 'Time generation, compared with the time to read the weights from memory',
    load: async () => (await import('./benchGenerate.ts')).benchGenerateCommand,
  },
  {
    command: 'ring',
    describe: 'Time the ring all-reduce between processes on this machine',
    load: async () => (await import('./benchRing.ts')).benchRingCommand,
  },
  {
    command: 'scaling',
    describe: 'Time runs with different numbers of workers; write a table, plots and a page',
    load: async () => (await import('./benchScaling.ts')).benchScalingCommand,
  },
];

/** @param typed the words after `launch` */
export async function benchCommand(typed: readonly string[]): Promise<Command> {
  const named = await loadNamed(benches, typed);
  return {
    builder: (yargs: Argv) =>
      yargs
        .command(named)
        .demandCommand(1, 'Name a benchmark.')
        .example('$0 bench step --steps 5', 'time five training steps')
        .example('$0 bench ring --help', 'the options and examples of one benchmark'),
    handler: () => undefined,
  };
}
