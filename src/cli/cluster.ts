/**
 * `launch cluster`: one node of a job. The same words start every node; the environment of the launcher (cluster/placement.ts) says
 * which one this is, and clusterNode.ts does its part.
 */
import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes, Options } from 'yargs';
import { availableCores } from '../base/cores.ts';
import { countOf } from '../base/numberText.ts';
import { userPath } from '../base/userPath.ts';
import { placementOf } from '../cluster/placement.ts';
import { RunFolder } from '../run/runFolder.ts';
import { calledDirectly } from './calledAs.ts';
import { hostOptions, trainOnHosts } from './clusterHosts.ts';
import { coordinate, follow } from './clusterNode.ts';
import { checkConfigToPrint, optionWords, printOptions, scriptOf } from './clusterPrint.ts';
import { isStartedByNpm, outliveRepeatedSignals } from './endRequests.ts';
import { waitSecondsMax } from './join.ts';
import { numberOption } from './options.ts';
import { print, warn } from './output.ts';
import { checkPorts, ringPlaceOf } from './ringOptions.ts';
import { outputModeOf, withOutput } from './runOutput.ts';
import { checkNumbers } from './train.ts';
import { trainOptions } from './trainOptions.ts';

// Where the run listens and what it continues follows from the job.
const {
  resume: _resume,
  listen: _listen,
  advertise: _advertise,
  encrypt: _encrypt,
  'single-process': _singleProcess,
  'dry-run': _dryRun,
  ...sharedOptions
} = trainOptions;

const options = {
  ...sharedOptions,
  workers: { ...sharedOptions.workers, default: 1, describe: 'Worker processes per node, which share its cores' },
  'min-workers': {
    ...sharedOptions['min-workers'],
    describe: 'Minimum number of workers of all nodes; the run waits while there are fewer',
  },
  'run-dir': {
    ...sharedOptions['run-dir'],
    demandOption: true,
    describe: 'Run directory, on a disk that all nodes share',
  },
  resume: {
    choices: ['auto', 'never'] as const,
    default: 'auto' as const,
    describe: 'auto: resume the run in --run-dir if it holds one, with its own config and weights; never: refuse it',
  },
  'node-rank': {
    type: 'number',
    requiresArg: true,
    describe: 'Index of this node; 0 coordinates [default: from the launcher]',
  },
  nodes: { type: 'number', requiresArg: true, describe: 'Number of nodes [default: from the launcher]' },
  coordinator: {
    type: 'string',
    requiresArg: true,
    describe: 'HOST:PORT of node 0 for the others [default: from the launcher]',
  },
  ...hostOptions,
  ...printOptions,
  wait: {
    type: 'number',
    requiresArg: true,
    default: 600,
    describe: 'Seconds that others wait for node 0',
  },
} as const satisfies Record<string, Options>;

/** Those that are the same on every node and that scripts repeat. */
const { 'run-dir': _runDir, 'node-rank': _nodeRank, nodes: _nodes, coordinator: _coordinator, ...repeated } = options;
const runOptions = Object.fromEntries(
  Object.entries(repeated).filter(([name]) => !(name in hostOptions || name in printOptions)),
);

/** Those that the workers of other hosts need too, where they are not the default. */
const joinOptions = {
  'ring-ports': options['ring-ports'],
  'max-restarts': options['max-restarts'],
  wait: options.wait,
};

/** The options of a run that a job has no choice of. */
const fixed = {
  ...{ resume: undefined, listen: undefined, advertise: undefined, encrypt: true },
  ...{ singleProcess: false, 'single-process': false, dryRun: false, 'dry-run': false },
};

type ClusterArguments = ArgumentsCamelCase<InferredOptionTypes<typeof options>>;

export const clusterCommand: CommandModule<object, InferredOptionTypes<typeof options>> = {
  builder: (yargs) =>
    yargs
      .options(options)
      .example('$0 cluster --run-dir runs/a --hosts a:2,b:2', 'on a, which starts workers on b by ssh')
      .example('$0 cluster --run-dir runs/a --nodes 4 --print slurm', 'write a job script')
      .example(
        '$0 cluster --run-dir runs/a --nodes 2 --node-rank 0 --coordinator a:5555',
        'node a, without a launcher',
      ),
  handler: async (args) => {
    if (args.print !== undefined) {
      checkNumbers(args);
      ringPlaceOf(args.ringPorts, true);
      checkConfigToPrint({ ...args, print: args.print });
      print(scriptOf({ ...args, print: args.print }, optionWords(runOptions, args)).trimEnd());
      return;
    }
    outliveRepeatedSignals();
    process.exitCode = await withOutput(outputModeOf(args, process.stdout.isTTY), () => runNode(args));
  },
};

/** @returns the exit code of this node */
async function runNode(args: ClusterArguments): Promise<number> {
  const { nodeRank, nodes, coordinator, workers } = args;
  numberOption('workers', workers, { min: 1, max: 1024, whole: true });
  const waitSeconds = numberOption('wait', args.wait, { min: 0, max: waitSecondsMax });
  const maxRestarts = numberOption('max-restarts', args.maxRestarts, { min: 0, max: 1_000_000, whole: true });
  const folder = new RunFolder(userPath(process.cwd(), args.runDir));
  const { hosts, hostfile, remoteDir } = args;
  if (hosts !== undefined || hostfile !== undefined) {
    const cores = availableCores();
    const ring = ringPlaceOf(args.ringPorts, true);
    return await trainOnHosts({ ...args, ...fixed }, args.resume, {
      hosts,
      hostfile,
      remoteDir,
      folder,
      cores,
      waitSeconds,
      ring,
      maxRestarts,
      joinWords: optionWords(joinOptions, args),
    });
  }
  const placement = placementOf(process.env, { nodeRank, nodes, coordinator });
  const cores = Math.min(availableCores(), placement.localCpus ?? Number.POSITIVE_INFINITY);
  const startWorkers = workers * placement.nodeCount;
  const ring = ringPlaceOf(args.ringPorts, placement.nodeCount > 1);
  checkPorts(ring, workers);
  const node = { placement, folder, workers, startWorkers, cores, waitSeconds, ring, maxRestarts };
  const { source, nodeRank: rank, nodeCount } = placement;
  print(`node ${rank} of ${nodeCount} (${source}): ${countOf(workers, 'worker')} on ${countOf(cores, 'core')}`);
  if (isStartedByNpm && (source === 'slurm' || source === 'mpi')) {
    warn(
      `npx keeps signals to itself, so the run cannot end with a checkpoint: start ${calledDirectly()} instead of npx`,
    );
  }
  if (rank > 0) return await follow(node);
  // Open MPI gives each rank a terminal, and writes what it shows into the output of the job.
  const plain = args.plain ?? (source === 'mpi' ? true : undefined);
  return await coordinate({ ...args, ...fixed, plain }, args.resume, node);
}
