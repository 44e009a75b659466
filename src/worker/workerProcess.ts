/** A worker process: `spawn.ts` forks it, and tells it what to do in the first IPC message. */
import { once } from 'node:events';
import { z } from 'zod';
import { endSignals, onSignals } from '../base/endSignals.ts';
import { FlightRecorder } from '../base/flightRecorder.ts';
import { runKeysSchema } from '../comm/runKeys.ts';
import type { WorkerFailure } from '../comm/workerMessages.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import { Agent } from './agent.ts';
import type { Replica } from './replicaThread.ts';
import type { WorkerArguments } from './spawn.ts';
import { failureOf } from './workerFailure.ts';

const workerArguments = z.object({
  id: z.string(),
  coordinatorAddress: z.string(),
  workersOnHost: z.number().int().min(1),
  localIndex: z.number().int().min(0),
  cores: z.number().int().min(1),
  keys: runKeysSchema.optional(),
  flightFolder: z.string(),
}) satisfies z.ZodType<WorkerArguments>;

/** Warnings of the sockets that are shown: who reaches a port can cause any number of them. */
const warningsMax = 5;

/**
 * Works until the run ends, then ends this process.
 * @param makeReplica what computes; the usual compute thread where it is not given
 */
export async function runWorkerProcess(makeReplica?: () => Replica): Promise<void> {
  // Whoever started this worker may be gone: it keeps its state for a coordinator that takes over (coordinatorLink.ts), but while
  // it has none there is nothing to keep.
  let agent: Agent | undefined;
  let isLeaving = false;
  process.on('disconnect', () => {
    if (agent === undefined) process.exit(1);
  });
  // Nor does it read any more what this process prints; and a log that is full, or a terminal that is closed, ends no training.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  // The coordinator hears these as well and decides; and Node's debugger, which SIGUSR1 opens, is not for workers.
  onSignals(endSignals, () => {});
  // A clean leave; the second time at once.
  process.on('SIGTERM', () => {
    if (isLeaving || agent === undefined) process.exit(143);
    isLeaving = true;
    agent.leave();
  });

  try {
    const [message] = await once(process, 'message');
    const { keys, flightFolder, ...options } = workerArguments.parse(message);
    const warn = warningsOf(options.id);
    const recorder = new FlightRecorder({ folder: flightFolder, name: options.id });
    // Node prints the error itself, and ends.
    process.on('uncaughtExceptionMonitor', () => recorder.write());
    const transport = zmqTransport({ keys, log: warn });
    const replica = makeReplica && { makeReplica };
    const failure = await Agent.work(
      { transport, token: keys?.token, recorder, warn, ...options, ...replica },
      (started) => {
        agent = started;
      },
    );
    end(failure);
  } catch (error) {
    end(failureOf(error, 0, 'starting'));
  }
}

function end(failure: WorkerFailure | undefined): void {
  if (failure === undefined) process.exit(0);
  if (!process.connected) process.exit(1);
  process.send?.(failure, () => process.exit(1));
}

function warningsOf(id: string): (message: string) => void {
  let count = 0;
  return (message) => {
    if (++count <= warningsMax) process.stderr.write(`warning: ${id}: ${message}\n`);
  };
}
