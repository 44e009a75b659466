/** The options of `launch` and `launch train`. */
import type { ArgumentsCamelCase, InferredOptionTypes, Options } from 'yargs';
import { restartsMaxDefault } from '../base/restarts.ts';
import { dashboardHost, ringPorts } from './options.ts';

export const trainOptions = {
  config: {
    alias: 'c',
    type: 'string',
    requiresArg: true,
    describe: 'Config file or name [default: quickstart.yaml]',
  },
  'init-from': {
    type: 'string',
    requiresArg: true,
    describe: 'Start from the weights of a run, checkpoint or Hugging Face folder',
  },
  workers: {
    alias: 'w',
    type: 'number',
    requiresArg: true,
    describe: 'Worker processes on this machine (train.workers)',
  },
  'min-workers': {
    type: 'number',
    requiresArg: true,
    default: 1,
    describe: 'Minimum number of workers (local and joined); the run waits while there are fewer',
  },
  'max-restarts': {
    type: 'number',
    requiresArg: true,
    default: restartsMaxDefault,
    describe: 'Maximum number of restarts of local workers',
  },
  set: { type: 'string', array: true, requiresArg: true, describe: 'Override config keys, such as model.nLayer=4' },
  'run-dir': {
    type: 'string',
    requiresArg: true,
    describe: 'Directory for metrics and checkpoints [default: runs/NAME]',
  },
  resume: {
    type: 'string',
    describe: 'Resume this run (directory or s3:// prefix); no value: newest in runs/',
  },
  'single-process': {
    type: 'boolean',
    default: false,
    describe: 'Run coordinator and workers in one process',
  },
  listen: {
    type: 'string',
    requiresArg: true,
    describe: 'Address for workers, port 0: a free one [default: tcp://127.0.0.1:0]',
  },
  advertise: {
    type: 'string',
    requiresArg: true,
    describe: "Where others reach --listen, if not at this machine's own address (NAT, a name): tcp://HOST:PORT",
  },
  encrypt: {
    type: 'boolean',
    default: true,
    describe:
      'Encrypt all connections with the keys in the run directory; --no-encrypt is only for workers on this machine',
  },
  ...ringPorts,
  'run-key': {
    type: 'string',
    requiresArg: true,
    describe: `Keys made by "launch keys" [default: contents of LOCKSTEP_RUN_KEY, or new]`,
  },
  dashboard: {
    type: 'string',
    describe: 'Serve live curves on this port [default: 3141, or a free one]',
  },
  ...dashboardHost,
  trace: {
    type: 'number',
    requiresArg: true,
    describe: 'Record a timeline of N steps to trace.json, for ui.perfetto.dev',
  },
  tensorboard: {
    type: 'string',
    describe: 'Write TensorBoard files here [default: RUN-DIR/tensorboard]',
  },
  'dry-run': { type: 'boolean', default: false, describe: 'Print sizes and memory without training' },
  plain: { type: 'boolean', describe: 'Print periodic lines instead of the live view' },
  quiet: { alias: 'q', type: 'boolean', describe: 'Print warnings, errors and the last line only' },
  json: { type: 'boolean', describe: 'Print every step, evaluation and event as JSON lines' },
} as const satisfies Record<string, Options>;

/** The parsed options. */
export type TrainArguments = ArgumentsCamelCase<InferredOptionTypes<typeof trainOptions>>;
