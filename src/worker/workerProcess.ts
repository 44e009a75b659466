/** A worker process. `spawn.ts` forks it and sends its options in the first IPC message. */
import type { EventEmitter } from 'node:events';
import { z } from 'zod';
import { endSignals, onSignals } from '../base/endSignals.ts';
import { FlightRecorder } from '../base/flightRecorder.ts';
import { runKeysSchema } from '../comm/runKeys.ts';
import type { WorkerFailure } from '../comm/workerMessages.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import { Agent } from './agent.ts';
import { throughHost } from './hostChannel.ts';
import { channelToHost } from './processChannel.ts';
import type { Replica } from './replicaThread.ts';
import { codeOfEnd, type RunEnd } from './runEnd.ts';
import { leaveMessage, type WorkerArguments } from './spawn.ts';
import { failureOf } from './workerFailure.ts';

const workerArguments = z.object({
  id: z.string(),
  coordinatorAddress: z.string(),
  ringHost: z.string().optional(),
  workersOnHost: z.number().int().min(1),
  localIndex: z.number().int().min(0),
  cores: z.number().int().min(1),
  keys: runKeysSchema.optional(),
  ring: z
    .object({
      ports: z.object({ first: z.number(), last: z.number() }).optional(),
      interfaces: z.array(z.string()).optional(),
    })
    .optional(),
  throughHost: z.boolean().optional(),
  flightFolder: z.string(),
  leavesOnSignal: z.boolean().optional(),
  node: z.object({ rank: z.number(), start: z.string() }).optional(),
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
  let runEnd: RunEnd = 'complete';
  let leavesOnSignal = true;
  process.on('disconnect', () => {
    if (agent === undefined) process.exit(1);
  });
  // Nor does that process read this one's output any more; a full log or a closed terminal must not end training.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  // The coordinator receives these signals as well and decides; Node's debugger, which SIGUSR1 opens, is not for workers.
  onSignals(endSignals, () => {});
  // Leaves in order; the second request ends it at once.
  const leave = () => {
    if (isLeaving || agent === undefined) process.exit(143);
    isLeaving = true;
    agent.leave();
  };
  const message = argumentsOf(process, leave);
  process.on('SIGTERM', () => {
    // A scheduler sends it to all processes of a job; then the parent decides, as long as it lives.
    if (leavesOnSignal || !process.connected) leave();
  });

  try {
    const {
      keys,
      ring = {},
      flightFolder,
      throughHost: isThroughHost,
      leavesOnSignal: leaves = true,
      ...options
    } = workerArguments.parse(await message);
    leavesOnSignal = leaves;
    const warn = warningsOf(options.id);
    const recorder = new FlightRecorder({ folder: flightFolder, name: options.id });
    // Node prints the error itself, and exits.
    process.on('uncaughtExceptionMonitor', () => recorder.write());
    const direct = zmqTransport({ keys, ring, log: warn });
    const transport = isThroughHost ? throughHost(direct, channelToHost()) : direct;
    const replica = makeReplica && { makeReplica };
    const onEnd = (end: RunEnd) => {
      runEnd = end;
    };
    const failure = await Agent.work(
      { transport, token: keys?.token, recorder, warn, onEnd, ...options, ...replica },
      (started) => {
        agent = started;
      },
    );
    end(failure, codeOfEnd(runEnd, isLeaving));
  } catch (error) {
    end(failureOf(error, 0, 'starting'));
  }
}

/**
 * The arguments of this worker, from the process that started it.
 * @param channel between these processes; the request to leave may come right after the arguments
 */
export function argumentsOf(channel: Pick<EventEmitter, 'on'>, onLeave: () => void): Promise<unknown> {
  // One listener for both: messages that are read together are emitted before a promise of the first resolves.
  return new Promise((resolve) => {
    channel.on('message', (message) => {
      if (message === leaveMessage) onLeave();
      else resolve(message);
    });
  });
}

function end(failure: WorkerFailure | undefined, code = 0): void {
  if (failure === undefined) process.exit(code);
  if (!process.connected) process.exit(1);
  process.send?.(failure, () => process.exit(1));
}

function warningsOf(id: string): (message: string) => void {
  let count = 0;
  return (message) => {
    if (++count <= warningsMax) process.stderr.write(`warning: ${id}: ${message}\n`);
  };
}
