/**
 * The three error classes of the project. Every deliberate error is one of them; anything else is a bug.
 *
 * A message says what is wrong, why, where (file and line, rank, address), and how to fix it.
 */
import { failedCall, systemReason } from './systemReason.ts';

/** Invalid user input: a config, command line, data file or checkpoint. Ends the command with exit code 2, without a stack trace. */
export class UserError extends Error {
  /** Identifies the class, even across threads and versions. */
  override readonly name = 'UserError';
}

/** A failure of a peer or the system: a lost worker, a closed socket, a full disk. Names what failed; exit code 1 if it ends the run. */
export class PeerError extends Error {
  /** Identifies the class, even across threads and versions. */
  override readonly name = 'PeerError';
}

/** A bug: a broken invariant. The process stops with a stack trace, because its state can no longer be trusted. */
export class InvariantError extends Error {
  /** Identifies the class, even across threads and versions. */
  override readonly name = 'InvariantError';
}

/** Throws {@link InvariantError} unless `condition` holds. For conditions that are true by construction, never for input. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}

/** The message of any thrown value. For an error of the system, the reason in words, without the file or address. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? (systemReason(error) ?? error.message) : String(error);
}

/**
 * The message of any thrown value, for a reader who is told nothing else: of a failed system call, also what was attempted and where. Use
 * {@link messageOf} in a sentence that says this already.
 */
export function fullMessageOf(error: unknown): string {
  return failedCall(error) ?? messageOf(error);
}

/** The system's error code (`ENOENT`, `ENOSPC`, …) of any thrown value, or ''. */
export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** The exit code of a command that ended with a {@link UserError}: the same command will fail again. */
export const userErrorExitCode = 2;

/** The exit code of a command that ended with `error`: 2 for a UserError, 1 for any other. */
export function exitCodeOf(error: unknown): number {
  return error instanceof UserError ? userErrorExitCode : 1;
}

/** The exit code of a command that the user interrupted, as in shells: 128 + SIGINT. */
export const interruptedExitCode = 130;

/**
 * The exit code of a node of a job that a scheduler asked to end before the run was finished: its checkpoint is written, and the same
 * command resumes it.
 */
export const unfinishedExitCode = 85;
