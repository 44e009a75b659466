/** Sends ranks their samples of a step: to each what it computes, and to workers that share the agent of their host in one message (comm/hostShares.ts). */
import type { Batch } from '../base/batch.ts';
import type { FlightRecorder } from '../base/flightRecorder.ts';
import { EncodedBatch } from '../comm/batchPayload.ts';
import type { CoordinatorMessageOf } from '../comm/coordinatorMessages.ts';
import type { HostServer } from '../comm/hostServer.ts';
import { encodeShares } from '../comm/hostShares.ts';
import type { TrainingSamples } from '../data/runData.ts';
import type { Effect } from './core/effects.ts';

type Assign = Extract<Effect, { kind: 'assign' }>;

export interface AssignmentsOptions {
  readonly training: TrainingSamples;
  readonly server: HostServer;
  readonly recorder: FlightRecorder | undefined;
  readonly isTraced: (step: number) => boolean;
  readonly send: (to: string, message: CoordinatorMessageOf<'assign'>, payload: Uint8Array) => void;
}

export class Assignments {
  readonly #options: AssignmentsOptions;
  /** The term in which each step was assigned that is not released yet; undefined if there were several. */
  readonly #terms = new Map<number, number | undefined>();
  /** The batch that was assigned last. */
  #newest: { readonly step: number; readonly batch: Batch; readonly encoded: EncodedBatch } | undefined;

  constructor(options: AssignmentsOptions) {
    this.#options = options;
  }

  /**
   * Sends the samples of the first effect, which assigns some, and those of the effects after it that the same agent passes on, if the batch can be divided there.
   * @returns the number of effects that it carried out
   */
  carryOut(first: Assign, effects: readonly Effect[], at: number): number {
    const { server } = this.#options;
    const { term, step, sampleFrom } = first;
    if (!this.#terms.has(step)) this.#terms.set(step, term);
    else if (this.#terms.get(step) !== term) this.#terms.set(step, undefined);
    const agent = server.agentOf(first.to);
    if (agent === undefined) return this.#sendOne(first);
    const peers: string[] = [];
    const sampleCounts: number[] = [];
    let next = sampleFrom;
    for (let i = at; i < effects.length; i++) {
      const effect = effects[i]!;
      if (effect.kind !== 'assign' || effect.step !== step || effect.sampleFrom !== next) break;
      if (server.agentOf(effect.to) !== agent) break;
      peers.push(effect.to);
      sampleCounts.push(effect.sampleCount);
      next += effect.sampleCount;
    }
    const { globalWeight, encoded } = this.#batchOf(step);
    const rows = peers.length > 1 ? encoded.rows(sampleFrom, next - sampleFrom) : undefined;
    if (rows === undefined) return this.#sendOne(first);
    const trace = this.#options.isTraced(step);
    const shares = { term, step, sampleFrom, sampleCounts, fields: rows.fields, globalWeight, trace };
    this.#options.recorder?.record('sent', { to: peers, message: { type: 'shares', ...shares } });
    server.sendShares(agent, peers, encodeShares(shares), rows.payload);
    return peers.length;
  }

  /**
   * The step is committed in this term, so everyone who was assigned a share in it has reduced that share, and has received its samples: no link reads the batch any more.
   * If an earlier term has assigned the step, too, its messages may still wait for a worker that does not read, and the batch is left to the collector of garbage.
   */
  committed(step: number, term: number): void {
    const { training } = this.#options;
    if (this.#terms.get(step) === term) {
      if (this.#newest?.step === step) this.#newest = undefined;
      training.release?.(step - 1);
    }
    for (const known of this.#terms.keys()) if (known <= step) this.#terms.delete(known);
  }

  #sendOne({ to, term, step, sampleFrom, sampleCount }: Assign): number {
    const { globalWeight, encoded } = this.#batchOf(step);
    const { fields, payload } = encoded.share(sampleFrom, sampleCount);
    const trace = this.#options.isTraced(step);
    const share = { term, step, sampleFrom, sampleCount, fields, globalWeight, trace };
    this.#options.send(to, { type: 'assign', ...share }, payload);
    return 1;
  }

  #batchOf(step: number): { readonly globalWeight: number; readonly encoded: EncodedBatch } {
    // The sampler counts steps from 0.
    const batch = this.#options.training.batch(step - 1);
    if (this.#newest?.batch !== batch) this.#newest = { step, batch, encoded: new EncodedBatch(batch) };
    return { globalWeight: batch.weight, encoded: this.#newest.encoded };
  }
}
