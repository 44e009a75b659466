/** What is wrong with a ring, as one of its ranks sees it. What the coordinator concludes from the reports of several: coordinator/core/ringFaults.ts. */
import { PeerError } from '../base/errors.ts';

/** The ring does not work. Names the neighbour that is blamed, so that nobody has to read the message for it. */
export class RingError extends PeerError {
  /** Rank of the neighbour that sent nothing, sent wrongly, is gone or was not reached. */
  readonly suspect: number;
  /** The addresses at which it was not reached, each with what happened; absent if that is not what is wrong. */
  readonly unreached: string | undefined;

  constructor(suspect: number, message: string, unreached?: string) {
    super(message);
    this.suspect = suspect;
    this.unreached = unreached;
  }
}

/** A rank's neighbour: it sends to the next one and receives from the previous one. */
export type Neighbour = 'next' | 'previous';

export function rankOf(neighbour: Neighbour, { rank, worldSize }: { rank: number; worldSize: number }): number {
  return (rank + (neighbour === 'next' ? 1 : worldSize - 1)) % worldSize;
}

/**
 * The error of a rank whose neighbour fails.
 * @param what completes "rank 1 …"
 * @param unreached addresses at which the next rank was not reached. Then that is the error, whatever else does not come: who waits for this rank's frames gets none
 */
export function ringFailure(
  neighbour: Neighbour,
  what: string,
  place: { term: number; step: number; rank: number; worldSize: number },
  unreached: string | undefined,
): RingError {
  const when = `(term ${place.term}, step ${place.step})`;
  if (unreached !== undefined) {
    const next = rankOf('next', place);
    const message = `rank ${next} (next in the ring) cannot be reached at ${unreached} ${when}`;
    return new RingError(next, message, unreached);
  }
  const suspect = rankOf(neighbour, place);
  return new RingError(suspect, `rank ${suspect} (${neighbour} in the ring) ${what} ${when}`);
}
