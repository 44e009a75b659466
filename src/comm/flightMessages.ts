/** Which messages a flight recorder keeps, and what of them. */
import type { CoordinatorMessage } from './coordinatorMessages.ts';
import type { WorkerMessage } from './workerMessages.ts';

/** What comes all the time would drive out the rest. */
export function isTelling({ type }: CoordinatorMessage | WorkerMessage): boolean {
  return !['heartbeat', 'stateChunk', 'stateAck', 'referenceChunk', 'referenceWanted'].includes(type);
}

/** A `join` shows the run's token. */
export function withoutSecrets(message: WorkerMessage): WorkerMessage {
  if (message.type !== 'join') return message;
  const { token: _, ...rest } = message;
  return rest;
}
