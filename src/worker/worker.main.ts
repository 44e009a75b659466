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

// Whoever started this worker may be gone: it keeps its state for a coordinator that takes over (coordinatorLink.ts), but while
// it has none there is nothing to keep.
let agent: Agent | undefined;
let isLeaving = false;
process.on('disconnect', () => {
  if (agent === undefined) process.exit(1);
});
// A clean leave; the second time at once.
process.on('SIGTERM', () => {
  if (isLeaving || agent === undefined) process.exit(143);
  isLeaving = true;
  agent.leave();
});

try {
  const options = workerArguments.parse(JSON.parse(process.argv[2] ?? ''));
  const failure = await Agent.work({ transport: zmqTransport(), ...options }, (started) => {
    agent = started;
  });
  end(failure);
} catch (error) {
  end(failureOf(error, 0, 'starting'));
}

function end(failure: WorkerFailure | undefined): void {
  if (failure === undefined) process.exit(0);
  if (!process.connected) process.exit(1);
  process.send?.(failure, () => process.exit(1));
}
