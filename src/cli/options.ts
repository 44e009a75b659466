/** Options that several commands share, and the checking of their values. */
import type { Argv, Options } from 'yargs';
import { UserError } from '../base/errors.ts';
import { instructionSetNames } from '../base/instructionSets.ts';
import { deviceIndexMax, deviceKinds, engineNames } from '../engine/engines.ts';
import type { EngineOptions } from '../engine/registry.ts';
import type { CheckpointChoice } from '../run/findCheckpoint.ts';

/** What `generate` and `eval` take to find a model and an engine. */
export interface ModelArguments {
  readonly checkpoint: string | undefined;
  readonly best: boolean;
  readonly engine: (typeof engineNames)[number];
  readonly 'device-kind': (typeof deviceKinds)[number];
  readonly device: number;
  readonly threads: number;
}

export function withModelOptions<T>(yargs: Argv<T>): Argv<T & ModelArguments> {
  return yargs
    .option('checkpoint', {
      type: 'string',
      requiresArg: true,
      describe:
        'A checkpoint, a run directory (its newest whole one is taken) or a GPT-2 folder of Hugging Face [default: the newest run in runs/]',
    })
    .option('best', {
      type: 'boolean',
      default: false,
      describe: "The run's checkpoint with the lowest validation loss, not its newest",
    })
    .option('engine', { choices: engineNames, default: 'auto' as const, describe: 'What computes' })
    .option('device-kind', { choices: deviceKinds, default: 'auto' as const, describe: 'Backend of the tfjs engine' })
    .option('device', { type: 'number', default: 0, describe: 'Which device of an engine that has several, from 0' })
    .option('threads', { type: 'number', default: 0, describe: 'Compute threads; 0 takes one for each core' });
}

/** The checkpoint that was asked for: without a wish the newest of the newest run. */
export function checkpointChoiceOf(
  { checkpoint, best }: Pick<ModelArguments, 'checkpoint' | 'best'>,
  onWarning: CheckpointChoice['onWarning'],
): CheckpointChoice {
  const onNote = (message: string): void => void process.stderr.write(`${message}\n`);
  return { path: checkpoint, best, cwd: process.cwd(), onWarning, onNote };
}

/** The engine that was asked for. @throws UserError for a device or a number of threads that cannot be */
export function engineOptionsOf({ engine, 'device-kind': deviceKind, device, threads }: ModelArguments): EngineOptions {
  return {
    name: engine,
    deviceKind,
    device: deviceOption(device),
    threads: numberOption('threads', threads, { min: 0, max: 1024, whole: true }),
  };
}

/** @param device as yargs reads it: text is NaN, as it was when this was the backend's name */
function deviceOption(device: number): number {
  if (!Number.isNaN(device)) return numberOption('device', device, { min: 0, max: deviceIndexMax, whole: true });
  throw new UserError(
    `--device: expected the index of a device, a whole number from 0 to ${deviceIndexMax}; the backend of the tfjs engine is --device-kind`,
  );
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

/** How many ranks or workers: numbers with commas between. @throws UserError for anything else */
export function countsOption(name: string, text: string, { min, max }: { min: number; max: number }): number[] {
  const counts = text.split(',').map(Number);
  if (counts.some((count) => !Number.isInteger(count) || count < min || count > max)) {
    throw new UserError(`Expected numbers from ${min} to ${max} for --${name}, like 2,4, but received "${text}".`);
  }
  return counts;
}

/** Of the commands that open a dashboard. */
export const dashboardHost = {
  'dashboard-host': {
    type: 'string',
    requiresArg: true,
    default: '127.0.0.1',
    describe: 'Address that the dashboard listens on; others than loopback need the token that is printed',
  },
} as const satisfies Record<string, Options>;
