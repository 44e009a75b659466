/** Training as a library: one call from a config to a summary. The same as `launch train`, without terminal, signals or exit codes. */
import { UserError } from '../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../base/optionNames.ts';
import { checkOptionTypes, isRecord, received } from '../base/optionValues.ts';
import { restartsMaxDefault } from '../base/restarts.ts';
import type { ConfigInput } from '../config/configTypes.ts';
import type { RunListener } from '../coordinator/coordinatorOptions.ts';
import { bestOf } from '../coordinator/core/bestEvaluation.ts';
import { selectEngine } from '../engine/registry.ts';
import { executeRun } from './executeRun.ts';
import { emitWarning } from './findCheckpoint.ts';
import { prepareRun, type RunArguments } from './prepareRun.ts';
import type { StartedRun } from './runObserver.ts';

/** Callbacks about a run. A callback that throws ends the run, and `train` throws its error. */
export interface TrainListener extends Partial<RunListener> {
  /** A fact in one line, such as the engine in use or the checkpoint that the run resumes from. */
  note?(line: string): void;
  /**
   * A problem that does not stop the run, such as a slower engine in place of a faster one. Without this callback, warnings before the
   * start of the run go to `process.emitWarning`, which prints them on standard error.
   */
  warning?(line: string): void;
}

/** Options of a run. Each has the name of an option of `launch`; error messages use the name here. */
export interface TrainOptions {
  /** A YAML file, the name of a shipped config (`shakespeare-char`), or a config, whose keys docs/config.md lists. Default `quickstart`. */
  readonly config?: string | ConfigInput;
  /** Initial weights instead of random ones: a run directory, a checkpoint, or a folder of GPT-2 weights. The key `model.from`. */
  readonly initFrom?: string;
  /** Each `group.key=value`, as for `--set`. They take precedence over the config. Two values for one key are an error. */
  readonly overrides?: readonly string[];
  /** Where relative paths start. Default: the working folder of the process. */
  readonly cwd?: string;
  /** Number of workers on this machine, instead of the config's `train.workers`. */
  readonly workers?: number;
  /** Minimum number of workers (local and joined); the run waits while there are fewer. Default 1. */
  readonly minWorkers?: number;
  /** Maximum number of restarts of local workers. Default 10. */
  readonly maxRestarts?: number;
  /** Run workers as threads of this process, without sockets, instead of processes. Default false. */
  readonly singleProcess?: boolean;
  /** The directory of a new run, which must not hold a run yet. Default: the next free of `runs/NAME`, `runs/NAME-2`, …, where NAME is that of the config file, or `run` for an object. */
  readonly runDir?: string;
  /** The directory of a run to resume; excludes `config` and `runDir`. */
  readonly resume?: string;
  /** `tcp://HOST:PORT` where `launch join` finds the run. Default: this machine only. */
  readonly listen?: string;
  /** Whether connections are encrypted, with the keys in the run directory. Default true. */
  readonly encrypt?: boolean;
  /** Ends the run after the current step, with a checkpoint. If it aborts before training starts, `train` throws its reason. */
  readonly signal?: AbortSignal;
  /** Called for each step, evaluation, checkpoint and event. */
  readonly listener?: TrainListener;
}

/** The result of a run. */
export interface TrainSummary {
  /** Number of updates applied, over the full run. */
  readonly step: number;
  /** Loss of the last step of this call, in nats; undefined if it made no step. */
  readonly loss: number | undefined;
  /** Validation loss of the last evaluation of this call, in nats; undefined if it made none. */
  readonly valLoss: number | undefined;
  /** The lowest validation loss of the full run, and its step; undefined if it was never evaluated. */
  readonly best:
    | {
        /** Number of updates of that model. */
        readonly step: number;
        /** In nats. */
        readonly valLoss: number;
      }
    | undefined;
  /** Absolute. */
  readonly runDir: string;
  /** The newest checkpoint, for `loadCheckpoint`; undefined if this call wrote none. */
  readonly checkpoint: string | undefined;
  /** Whether it ended early, by `signal`. */
  readonly stopped: boolean;
  /** The engine of the workers on this machine: `native (cpu)`. */
  readonly engine: string;
}

/**
 * Trains a GPT in a run directory, data-parallel over `workers`. It handles no signals and prints nothing, except warnings without
 * `listener.warning`. When it returns or throws, its processes, threads, sockets and timers have ended.
 *
 * @throws UserError for invalid input; nothing was written then
 * @throws PeerError if the run failed, such as for a full disk or too few workers; the message says whether it can be resumed
 * @example
 * ```ts
 * const { runDir, valLoss } = await train({
 *   config: { data: { text: 'input.txt' }, train: { maxSteps: 500 } },
 *   listener: { step: ({ step, loss }) => console.log(step, loss) },
 * });
 * ```
 */
export async function train(options: TrainOptions = {}): Promise<TrainSummary> {
  checkOptionNames('train', options, optionNames);
  const { signal, listener = {} } = options;
  checkListener(listener);
  const { singleProcess = false, encrypt = true, maxRestarts = restartsMaxDefault } = options;
  checkNumbers({ ...options, maxRestarts });
  checkTypes(options);
  signal?.throwIfAborted();
  const warn = (line: string) => listener.warning?.(line);
  const messages = { note: (line: string) => listener.note?.(line), warn, progress: () => () => {} };
  const run = await prepareRun(argumentsOf(options), options.cwd ?? process.cwd(), {
    ...messages,
    warn: listener.warning ? warn : emitWarning,
  });
  signal?.throwIfAborted();

  const { name, deviceKind } = await selectEngine(run.config.engine);
  const engine = `${name} (${deviceKind})`;
  messages.note(`engine ${engine}`);

  const seen: { loss?: number; valLoss?: number; checkpoint?: string } = {};
  const { end, step, evaluations } = await executeRun({
    run,
    singleProcess,
    encrypt,
    listen: options.listen,
    maxRestarts,
    messages,
    observe: async () => {
      let started: StartedRun | undefined;
      const stop = () => started?.stop();
      signal?.addEventListener('abort', stop);
      return {
        listeners: [listener, recorderOf(seen)],
        // The line of a warning already has the prefix.
        onWorkerOutput: (line) => warn(line.replace(/^warning: /, '')),
        started(run) {
          started = run;
          if (signal?.aborted) stop();
        },
        close: async () => signal?.removeEventListener('abort', stop),
      };
    },
  });
  const { loss, valLoss, checkpoint = run.resume?.path } = seen;
  const lowest = bestOf(evaluations);
  const best = lowest && { step: lowest.step, valLoss: lowest.loss };
  return { step, loss, valLoss, best, runDir: run.folder.path, checkpoint, stopped: end === 'stopped', engine };
}

const optionNames = {
  config: true,
  initFrom: true,
  overrides: true,
  cwd: true,
  workers: true,
  minWorkers: true,
  maxRestarts: true,
  singleProcess: true,
  runDir: true,
  resume: true,
  listen: true,
  encrypt: true,
  signal: true,
  listener: true,
} satisfies OptionNames<TrainOptions>;

const listenerNames = {
  started: true,
  lengthChanged: true,
  step: true,
  evaluated: true,
  checkpoint: true,
  event: true,
  logged: true,
  warning: true,
  note: true,
} satisfies OptionNames<TrainListener>;

function argumentsOf(options: TrainOptions): RunArguments {
  const { overrides, singleProcess = false, encrypt = true, ...rest } = options;
  return { ...rest, set: overrides, singleProcess, encrypt, dryRun: false };
}

/** @throws UserError for a value that is not an object, a callback that is not a function, and a callback of an unknown name */
function checkListener(listener: TrainListener): void {
  if (typeof listener !== 'object' || listener === null) {
    throw new UserError(
      `listener: expected an object, received ${listener === null ? 'null' : `a ${typeof listener}`}`,
    );
  }
  for (const name of Object.keys(listenerNames) as (keyof TrainListener)[]) {
    const given: unknown = listener[name];
    if (given === undefined || typeof given === 'function') continue;
    throw new UserError(
      `listener.${name}: expected a function, received ${given === null ? 'null' : `a ${typeof given}`}`,
    );
  }
  // An object of a class may have functions and data of its own.
  const prototype: unknown = Object.getPrototypeOf(listener);
  if (prototype !== null && prototype !== Object.prototype) return;
  const calls = Object.entries(listener).filter(([, value]) => typeof value === 'function');
  checkOptionNames("train's listener", Object.fromEntries(calls), listenerNames);
}

/** @throws UserError for a number out of range */
function checkNumbers(options: TrainOptions): void {
  const ranges = { workers: [1, 1024], minWorkers: [1, 1024], maxRestarts: [0, 1_000_000] } as const;
  for (const [name, [min, max]] of Object.entries(ranges)) {
    const value = options[name as keyof typeof ranges];
    if (value === undefined || (Number.isInteger(value) && value >= min && value <= max)) continue;
    throw new UserError(`${name}: expected a whole number from ${min} to ${max}, received ${received(value)}`);
  }
}

/** @throws UserError for an option of another type, and for an empty path: it would be the working folder */
function checkTypes(options: TrainOptions): void {
  checkOptionTypes(options, {
    initFrom: 'a path',
    overrides: 'an array of strings',
    cwd: 'a path',
    singleProcess: 'true or false',
    runDir: 'a path',
    resume: 'a path',
    listen: 'a string',
    encrypt: 'true or false',
    signal: 'an AbortSignal',
  });
  const { config } = options;
  if (config === undefined || typeof config === 'string' || isRecord(config)) return;
  throw new UserError(`config: expected an object, or a path as a string, received ${received(config)}`);
}

function recorderOf(seen: { loss?: number; valLoss?: number; checkpoint?: string }): Partial<RunListener> {
  return {
    step: ({ loss }) => {
      seen.loss = loss;
    },
    evaluated: ({ valLoss }) => {
      seen.valLoss = valLoss;
    },
    checkpoint: (outcome) => {
      if (!('error' in outcome)) seen.checkpoint = outcome.path;
    },
  };
}
