/** Where the checkpoints of a run are: a folder on a disk (diskCheckpoints.ts) or a prefix in an object store (objectCheckpoints.ts). */
import type { OutputFile } from '../base/diskOperations.ts';

/** A checkpoint that readers see; it may be damaged. */
export interface PlacedCheckpoint {
  readonly step: number;
  readonly path: string;
}

/** Told of what could not be removed; the run does not depend on it. */
export type Warn = (message: string) => void;

export interface CheckpointPlace {
  /** Newest first, at most one for each step. */
  list(): Promise<PlacedCheckpoint[]>;
  draft(step: number): CheckpointDraft;
  /** Why a checkpoint of this many bytes does not fit ("needs …"); undefined if it does, or if that cannot be known. */
  roomProblem(bytes: number): Promise<string | undefined>;
  /** Makes it invisible first. */
  remove(checkpoint: PlacedCheckpoint): Promise<void>;
  /** Finishes the work of dead writers that readers depend on, and undoes the rest where this can harm nobody. */
  recover(): Promise<void>;
}

/** A checkpoint that is being written. Readers do not see it before {@link publish}. */
export interface CheckpointDraft {
  /** Where it will be. In an object store this is known after {@link begin}. */
  readonly path: string;
  /** Whether readers see it: it then stays, even if it is discarded. */
  readonly isVisible: boolean;
  /** @param bytes the size of its tensors @throws if they do not fit */
  begin(bytes: number): Promise<void>;
  /** Files are created one after another; the last one is the manifest. @param bytes its size, or more */
  createFile(name: string, bytes: number): Promise<OutputFile>;
  /** Makes it visible, in place of an earlier one of the same step. */
  publish(): Promise<void>;
  /** Removes what was written. Never throws. */
  discard(): Promise<void>;
}
