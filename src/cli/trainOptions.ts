/** The options of `launch` and `launch train`. */
import type { ArgumentsCamelCase, InferredOptionTypes, Options } from 'yargs';
import { dashboardHost } from './options.ts';

export const trainOptions = {
  config: {
    alias: 'c',
    type: 'string',
    requiresArg: true,
    describe: 'YAML file, or the name of a shipped one [default: quickstart.yaml]',
  },
  'init-from': {
    type: 'string',
    requiresArg: true,
    describe: 'Begin with the weights of a run, a checkpoint or a GPT-2 folder, not with random ones (model.from)',
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
    describe: 'Fewest workers, with those that join, that the run starts and goes on with; below it waits',
  },
  'max-restarts': {
    type: 'number',
    requiresArg: true,
    default: 10,
    describe: 'How often, over the whole run, workers of this machine that died are started again',
  },
  set: { type: 'string', array: true, requiresArg: true, describe: 'Override a key: model.nLayer=4' },
  'run-dir': {
    type: 'string',
    requiresArg: true,
    describe: 'Directory for metrics and checkpoints [default: runs/NAME]',
  },
  resume: { type: 'string', describe: 'Go on with the run in this directory, or with the newest in runs/' },
  'single-process': {
    type: 'boolean',
    default: false,
    describe: 'Coordinator and workers in one process, without sockets',
  },
  listen: {
    type: 'string',
    requiresArg: true,
    describe: 'Where workers join; port 0 lets the system choose [default: tcp://127.0.0.1:0]',
  },
  encrypt: {
    type: 'boolean',
    default: true,
    describe:
      'Encrypt all connections with the keys in the run directory; --no-encrypt: only where nobody else can listen',
  },
  dashboard: {
    type: 'string',
    describe: 'Serve a page with live curves, on this port [default: 3141, or any]',
  },
  ...dashboardHost,
  trace: {
    type: 'number',
    requiresArg: true,
    describe: 'Write what every worker does when in so many steps to trace.json, for ui.perfetto.dev',
  },
  tensorboard: {
    type: 'string',
    describe: 'Write event files for TensorBoard here [tensorboard in the run directory]',
  },
  'dry-run': { type: 'boolean', default: false, describe: 'Print sizes and memory, train nothing' },
  plain: { type: 'boolean', describe: 'A line now and then, as into a file, also on a terminal' },
  quiet: { alias: 'q', type: 'boolean', describe: 'Print warnings, errors and the last line only' },
  json: { type: 'boolean', describe: 'Print JSON lines: every step, evaluation, checkpoint, event, warning' },
} as const satisfies Record<string, Options>;

/** What yargs hands to the command. */
export type TrainArguments = ArgumentsCamelCase<InferredOptionTypes<typeof trainOptions>>;
