/** The entry of a worker process: `spawn.ts` forks it with one JSON argument. */
import { z } from 'zod';
import { exitCodeOf, messageOf } from '../base/errors.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import { Agent } from './agent.ts';
import { blameOf } from './blame.ts';
import type { WorkerArguments, WorkerFailure } from './spawn.ts';

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
  await Agent.work({ transport: zmqTransport(), ...options });
  process.exit(0);
} catch (error) {
  const failure: WorkerFailure = { message: messageOf(error), blame: blameOf(error) };
  process.send?.(failure, () => process.exit(exitCodeOf(error)));
}
