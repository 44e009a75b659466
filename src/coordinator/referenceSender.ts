/** Sends workers the weights that they compare their policy with, piece by piece as they ask for them (run/policyReference.ts makes the file). */
import { open } from 'node:fs/promises';
import { messageOf } from '../base/errors.ts';
import { readFully } from '../base/wholeFiles.ts';
import { stateChunkBytes } from '../comm/protocol.ts';
import type { ReferenceFile } from './coordinatorOptions.ts';
import type { Decisions } from './decisions.ts';
import type { Outbox } from './outbox.ts';

export interface ReferenceSenderOptions {
  readonly reference: ReferenceFile | undefined;
  readonly decisions: Decisions;
  readonly outbox: Outbox;
  readonly onWarning: (message: string) => void;
  /** A failure that is not the disk's. */
  readonly onError: (error: unknown) => void;
}

export class ReferenceSender {
  readonly #options: ReferenceSenderOptions;

  constructor(options: ReferenceSenderOptions) {
    this.#options = options;
  }

  /**
   * Only to workers that were welcomed. A lost connection makes the worker ask again. Without the file no worker can join, but those that have
   * joined need it no more.
   */
  async send(peer: string, offset: number): Promise<void> {
    const { reference, decisions, outbox, onWarning, onError } = this.#options;
    const { joiners } = decisions.state;
    if (reference === undefined || offset >= reference.bytes || !joiners.some(({ id }) => id === peer)) return;
    try {
      const handle = await open(reference.path, 'r');
      try {
        const chunk = new Uint8Array(Math.min(stateChunkBytes, reference.bytes - offset));
        await readFully(handle, chunk, offset, reference.path);
        outbox.send(peer, { type: 'referenceChunk', offset }, chunk);
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (!(error instanceof Error)) return onError(error);
      const problem = `the weights that the policy is compared with cannot be read: ${messageOf(error)}`;
      onWarning(problem);
      decisions.handle({ kind: 'unfit', from: peer, problem });
    }
  }
}
