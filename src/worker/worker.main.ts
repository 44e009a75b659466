/** The entry of a worker process: `spawn.ts` forks it, and tells it what to do in the first IPC message. */
import { once } from 'node:events';
import { z } from 'zod';
import type { WorkerFailure } from '../comm/protocol.ts';
import { runKeysSchema } from '../comm/runKeys.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import { Agent } from './agent.ts';
import type { WorkerArguments } from './spawn.ts';
import { failureOf } from './workerFailure.ts';

const workerArguments = z.object({
  id: z.string(),
  coordinatorAddress: z.string(),
  workersOnHost: z.number().int().min(1),
  cores: z.number().int().min(1),
  keys: runKeysSchema.optional(),
}) satisfies z.ZodType<WorkerArguments>;

/** Warnings of the sockets that are shown: who reaches a port can cause any number of them. */
const warningsMax = 5;

// Whoever started this worker is gone, killed perhaps: nobody is left to train for.
process.on('disconnect', () => process.exit(1));

try {
  const [message] = await once(process, 'message');
  const { keys, ...options } = workerArguments.parse(message);
  const transport = zmqTransport({ keys, log: warningsOf(options.id) });
  end(await Agent.work({ transport, token: keys?.token, ...options }));
} catch (error) {
  end(failureOf(error, 0, 'starting'));
}

function end(failure: WorkerFailure | undefined): void {
  if (failure === undefined) process.exit(0);
  process.send?.(failure, () => process.exit(1));
}

function warningsOf(id: string): (message: string) => void {
  let count = 0;
  return (message) => {
    if (++count <= warningsMax) process.stderr.write(`warning: ${id}: ${message}\n`);
  };
}
