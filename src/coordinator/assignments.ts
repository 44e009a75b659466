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
  /** The batch that was assigned last. */
  #newest: { readonly batch: Batch; readonly encoded: EncodedBatch } | undefined;

  constructor(options: AssignmentsOptions) {
    this.#options = options;
  }

  /**
   * Sends the samples of the first effect, which assigns some, and those of the effects after it that the same agent passes on, if the batch can be divided there.
   * @returns the number of effects that it carried out
   */
  carryOut(first: Assign, effects: readonly Effect[], at: number): number {
    const { server } = this.#options;
    const agent = server.agentOf(first.to);
    if (agent === undefined) return this.#sendOne(first);
    const { term, step, sampleFrom } = first;
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
    if (this.#newest?.batch !== batch) this.#newest = { batch, encoded: new EncodedBatch(batch) };
    return { globalWeight: batch.weight, encoded: this.#newest.encoded };
  }
}
