/** Waits until a coordinator answers: machines that start together do so in any order, and their names may be known later still. */
import { systemClock } from '../base/clock.ts';
import { durationOf } from '../base/numberText.ts';
import type { Transport } from './link.ts';
import { UnreachableError } from './linkAddress.ts';

/** Time limit for one attempt. A name is looked up again for the next one. */
const attemptMs = 2_000;
/** For the only attempt of a wait that is shorter. */
const attemptLeastMs = 1_000;
const pauseMs = 250;

export interface AwaitOptions {
  readonly transport: Transport;
  readonly address: string;
  /** Unique among the clients of the coordinator; see `isPeerId`. */
  readonly peerId: string;
  /** 0: one attempt. */
  readonly waitMs: number;
  /** Called when an attempt has failed and another one follows; `why` completes "waiting for it: ". */
  readonly onWait: (why: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Resolves when the coordinator has completed a handshake. It is told nothing, and the connection is closed.
 * @throws UserError at once if the keys or the address are wrong; PeerError at once if something else listens there; UnreachableError if
 *   nothing answers in time; the signal's reason
 */
export async function awaitCoordinator(options: AwaitOptions): Promise<void> {
  const { transport, address, peerId, waitMs, onWait, signal } = options;
  const endMs = systemClock.monotonic() + waitMs;
  for (let attempt = 0; ; attempt++) {
    signal?.throwIfAborted();
    const leftMs = endMs - systemClock.monotonic();
    try {
      const timeoutMs = Math.max(attemptLeastMs, Math.min(attemptMs, leftMs));
      const client = await transport.connect(address, `${peerId}.${attempt}`, timeoutMs);
      await client.close();
      return;
    } catch (error) {
      if (!(error instanceof UnreachableError)) throw error;
      if (systemClock.monotonic() + pauseMs >= endMs) throw waitMs <= attemptMs ? error : withWait(error, waitMs);
      onWait(error.why);
    }
    await pause(signal);
  }
}

function withWait({ message, why }: UnreachableError, waitMs: number): UnreachableError {
  return new UnreachableError(`${message} This machine has tried for ${durationOf(waitMs)}.`, why);
}

/** Ends early when the signal aborts. */
function pause(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      cancel();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const cancel = systemClock.after(pauseMs, end);
    signal?.addEventListener('abort', end);
  });
}
