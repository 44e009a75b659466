/** The entry of a worker process: `spawn.ts` forks it with one JSON argument. */
import { z } from 'zod';
import type { WorkerFailure } from '../comm/protocol.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import { Agent } from './agent.ts';
import type { WorkerArguments } from './spawn.ts';
import { failureOf } from './workerFailure.ts';

const workerArguments = z.object({
  id: z.string(),
  coordinatorAddress: z.string(),
  workersOnHost: z.number().int().min(1),
  cores: z.number().int().min(1),
}) satisfies z.ZodType<WorkerArguments>;

// Whoever started this worker is gone, killed perhaps: nobody is left to train for.
process.on('disconnect', () => process.exit(1));

try {
  const options = workerArguments.parse(JSON.parse(process.argv[2] ?? ''));
  end(await Agent.work({ transport: zmqTransport(), ...options }));
} catch (error) {
  end(failureOf(error, 0, 'starting'));
}

function end(failure: WorkerFailure | undefined): void {
  if (failure === undefined) process.exit(0);
  process.send?.(failure, () => process.exit(1));
}
