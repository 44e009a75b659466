/** A worker process. `spawn.ts` forks it and sends its options in the first IPC message. */
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
  ringHost: z.string().optional(),
  workersOnHost: z.number().int().min(1),
  localIndex: z.number().int().min(0),
  cores: z.number().int().min(1),
  keys: runKeysSchema.optional(),
  flightFolder: z.string(),
}) satisfies z.ZodType<WorkerArguments>;

/** Number of displayed warnings from sockets; anyone who can reach a port can cause any number of them. */
const warningsMax = 5;

/**
 * Works until the run ends, then ends this process.
 * @param makeReplica creates the replica; default: the usual compute thread
 */
export async function runWorkerProcess(makeReplica?: () => Replica): Promise<void> {
  // The process that started this worker may have died. The worker keeps its state for a successor (coordinatorLink.ts), but without a
  // state it has nothing to keep.
  let agent: Agent | undefined;
  let isLeaving = false;
  process.on('disconnect', () => {
    if (agent === undefined) process.exit(1);
  });
  // Nor does that process read this one's output any more; a full log or a closed terminal must not end training.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  // The coordinator receives these signals as well and decides; Node's debugger, which SIGUSR1 opens, is not for workers.
  onSignals(endSignals, () => {});
  // Leaves in order; the second signal ends it at once.
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
    // Node prints the error itself, and exits.
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
