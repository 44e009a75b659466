/**
 * The three kinds of error of the project. Everything that is thrown on purpose is one of them; anything else is a bug.
 *
 * A message says what was expected, what came instead, where (file and line, rank, address), and what to do.
 */

/** The user's: a wrong config, command line, data file or checkpoint. Ends the command with exit code 2 and no stack trace. */
export class UserError extends Error {
  /** Of the class, also across threads and versions. */
  override readonly name = 'UserError';
}

/** A peer's or the system's: a lost worker, a closed socket, a full disk. Names who or what failed; exit code 1 if it ends the run. */
export class PeerError extends Error {
  /** Of the class, also across threads and versions. */
  override readonly name = 'PeerError';
}

/** Ours: a broken invariant. The process stops with a stack trace, since nothing after it can be trusted. */
export class InvariantError extends Error {
  /** Of the class, also across threads and versions. */
  override readonly name = 'InvariantError';
}

/** Throws {@link InvariantError} unless `condition` holds. For what must be true by construction, never for input. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The system's code (`ENOENT`, `ENOSPC`, …) of anything that was thrown, or ''. */
export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** The exit code of a command that ended with `error`: 2 for the user's, 1 for any other. */
export function exitCodeOf(error: unknown): number {
  return error instanceof UserError ? 2 : 1;
}

/** The exit code of a command that the user interrupted, as shells have it: 128 + SIGINT. */
export const interruptedExitCode = 130;
