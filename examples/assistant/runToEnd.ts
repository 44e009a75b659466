/** Runs a command on the same terminal, and outlives it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';

/**
 * A key such as Ctrl-C reaches the command as well, which may have a checkpoint to save: until it ends, this process waits. Other requests to end are passed on.
 * @returns the status of the command; after a request to end, that of the signal, also if the command ended in order
 */
export async function runToEnd(command: string, args: readonly string[]): Promise<number> {
  const child = spawn(command, args, { stdio: 'inherit' });
  let requested: NodeJS.Signals | undefined;
  const onKey = () => {
    requested ??= 'SIGINT';
  };
  const onRequest = (signal: NodeJS.Signals) => {
    requested ??= signal;
    child.kill(signal);
  };
  process.on('SIGINT', onKey).on('SIGTERM', onRequest);
  try {
    const [status, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    const endedBy = requested ?? signal;
    return endedBy === null ? (status ?? 1) : 128 + constants.signals[endedBy];
  } finally {
    process.off('SIGINT', onKey).off('SIGTERM', onRequest);
  }
}
