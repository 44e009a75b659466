/** Options that several commands share, and the checks of their values. */
import type { Argv, Options, PositionalOptions } from 'yargs';
import { UserError } from '../base/errors.ts';
import { instructionSetNames } from '../base/instructionSets.ts';
import { deviceIndexMax, deviceKinds, engineNames } from '../engine/engines.ts';
import type { EngineOptions } from '../engine/registry.ts';
import type { CheckpointChoice } from '../run/findCheckpoint.ts';

/** The options that select a model and an engine. */
export interface ModelArguments {
  readonly checkpoint: string | undefined;
  readonly best: boolean;
  readonly engine: (typeof engineNames)[number];
  readonly 'device-kind': (typeof deviceKinds)[number];
  readonly device: number;
  readonly threads: number;
}

export function withModelOptions<T>(yargs: Argv<T>): Argv<T & ModelArguments> {
  return withEngineOptions(
    yargs.option('checkpoint', {
      type: 'string',
      requiresArg: true,
      describe:
        'Checkpoint, run directory (its newest checkpoint) or Hugging Face folder [default: the newest run in runs/]',
    }),
  );
}

/** For a command that takes the checkpoint without `--checkpoint` too. */
export const checkpointPositional = {
  type: 'string',
  describe: 'Checkpoint, run or Hugging Face folder, as --checkpoint [default: the newest run]',
} as const satisfies PositionalOptions;

/** The same for a command that has the checkpoint as a positional. */
export function withEngineOptions<T>(yargs: Argv<T>): Argv<T & Omit<ModelArguments, 'checkpoint'>> {
  return yargs
    .option('best', {
      type: 'boolean',
      default: false,
      describe: 'Use the lowest validation loss, not the newest',
    })
    .option('engine', { choices: engineNames, default: 'auto' as const, describe: 'Engine' })
    .option('device-kind', { choices: deviceKinds, default: 'auto' as const, describe: 'Backend of the tfjs engine' })
    .option('device', { type: 'number', default: 0, describe: 'Index of the device, for engines with several' })
    .option('threads', { type: 'number', default: 0, describe: 'Compute threads; 0: one per core' });
}

/** The requested checkpoint; by default the newest one of the newest run. */
export function checkpointChoiceOf(
  { checkpoint, best }: Pick<ModelArguments, 'checkpoint' | 'best'>,
  onWarning: CheckpointChoice['onWarning'],
): CheckpointChoice {
  const onNote = (message: string): void => void process.stderr.write(`${message}\n`);
  return { path: checkpoint, best, cwd: process.cwd(), onWarning, onNote };
}

/** The requested engine. @throws UserError for an invalid device or number of threads */
export function engineOptionsOf({
  engine,
  'device-kind': deviceKind,
  device,
  threads,
}: Omit<ModelArguments, 'checkpoint'>): EngineOptions {
  return {
    name: engine,
    deviceKind,
    device: deviceOption(device),
    threads: numberOption('threads', threads, { min: 0, max: 1024, whole: true }),
  };
}

/** @param device as parsed by yargs, which turns text into NaN: formerly this option was the name of the backend */
function deviceOption(device: number): number {
  if (!Number.isNaN(device)) return numberOption('device', device, { min: 0, max: deviceIndexMax, whole: true });
  throw new UserError(
    `--device: expected the index of a device, a whole number from 0 to ${deviceIndexMax}. Use --device-kind for the backend of the tfjs engine.`,
  );
}

/** The port of a dashboard as typed; undefined if it was left open. @throws UserError if it is not a port */
export function portOption(typed: string): number | undefined {
  if (typed === '') return undefined;
  const port = Number(typed.trim() === '' ? Number.NaN : typed);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new UserError(`dashboard port: expected a whole number from 0 to 65535, received ${JSON.stringify(typed)}`);
}

/** @throws UserError unless `value` is a number in the range */
export function numberOption(
  name: string,
  value: number,
  { min, max, whole = false }: { min: number; max: number; whole?: boolean },
): number {
  if (value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
  throw new UserError(
    `--${name}: expected ${whole ? 'a whole number' : 'a number'} from ${min} to ${max}, received ${value}`,
  );
}

const isaNames = ['auto', ...instructionSetNames] as const;
export type IsaOption = (typeof isaNames)[number];

export const isaOption = {
  choices: isaNames,
  default: 'auto' as const,
  describe: 'Instruction set of the native engine',
};

/** Numbers of ranks or workers, separated by commas. @throws UserError for anything else */
export function countsOption(name: string, text: string, { min, max }: { min: number; max: number }): number[] {
  const counts = text.split(',').map(Number);
  if (counts.some((count) => !Number.isInteger(count) || count < min || count > max)) {
    throw new UserError(
      `--${name}: expected numbers from ${min} to ${max}, such as 2,4, received ${JSON.stringify(text)}`,
    );
  }
  return counts;
}

/** For the commands that start workers of a run. */
export const ringPorts = {
  'ring-ports': {
    type: 'string',
    requiresArg: true,
    describe: 'Ports for connections between workers, like 6000-6015 [default: any]',
  },
} as const satisfies Record<string, Options>;

/** For the commands that open a dashboard. */
export const dashboardHost = {
  'dashboard-host': {
    type: 'string',
    requiresArg: true,
    default: '127.0.0.1',
    describe: 'Address that the dashboard listens on; beyond loopback, clients need the printed token',
  },
} as const satisfies Record<string, Options>;
