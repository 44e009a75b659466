/** Carries out what the decision core decides about rollouts: sends prompts, keeps the parts that come back, and records what is written. */
import { InvariantError, messageOf, PeerError, UserError } from '../../base/errors.ts';
import { decodeBatch, encodeBatch } from '../../comm/batchPayload.ts';
import type { CoordinatorMessage } from '../../comm/coordinatorMessages.ts';
import type { WorkerMessageOf } from '../../comm/workerMessages.ts';
import type { JournalSink } from '../../records/journal.ts';
import type { Rollout } from '../../task/rollouts.ts';
import type { Effect } from '../core/effects.ts';
import { iterationAfter } from '../core/iterations.ts';
import type { RunEvent } from '../core/runEvents.ts';
import type { KnownIteration } from '../core/runPlan.ts';
import type { RunState } from '../core/runState.ts';
import type { Rollouts } from './rollouts.ts';

type RolloutEffect = Extract<
  Effect,
  { kind: 'beginRollouts' | 'rollout' | 'keepRollouts' | 'judgeRollouts' | 'rolloutsKnown' }
>;

export interface RolloutDriverOptions {
  readonly rollouts: Rollouts;
  readonly journal: JournalSink;
  readonly state: () => RunState;
  /** Number of tokens trained on in the first `step` updates. */
  readonly tokensAfter: (step: number) => number;
  readonly send: (to: string, message: CoordinatorMessage, payload: Uint8Array) => void;
  /** Tells the user of an iteration. */
  readonly announce: (reason: string) => void;
  readonly onEvent: (event: RunEvent) => void;
  /** A failure that is not the input's or the disk's. */
  readonly onError: (error: unknown) => void;
}

export class RolloutDriver {
  readonly #options: RolloutDriverOptions;
  /** Those of the newest message: the core says whether they are kept. */
  #received: readonly Rollout[] = [];

  constructor(options: RolloutDriverOptions) {
    this.#options = options;
  }

  /** Reads the rollouts in a message. Returns what is wrong with them, or undefined. */
  receive(message: WorkerMessageOf<'rolledOut'>, payload: Uint8Array | undefined): string | undefined {
    const { rollouts } = this.#options;
    const { iteration, part } = message;
    if (part >= rollouts.plan.parts) return `expected a part below ${rollouts.plan.parts}, received ${part}`;
    try {
      this.#received = rollouts.parse(iteration, part, decodeBatch(message, payload));
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  }

  carryOut(effect: RolloutEffect): void {
    const { rollouts, journal, announce } = this.#options;
    const { iteration } = effect;
    switch (effect.kind) {
      case 'beginRollouts':
        rollouts.begin(iteration);
        break;
      case 'rollout':
        this.#lease(effect);
        break;
      case 'keepRollouts':
        rollouts.keep(effect.part, this.#received);
        break;
      case 'judgeRollouts': {
        const { step, committedTerm } = effect;
        void this.#judge({ iteration, step, committedTerm });
        break;
      }
      case 'rolloutsKnown': {
        const { sha256, step } = effect;
        journal.append({ kind: 'rollouts', step, iteration, sha256 });
        rollouts.known({ iteration, sha256 });
        announce(rollouts.describe(iteration));
        break;
      }
      default:
        throw new InvariantError(`unknown effect ${JSON.stringify(effect satisfies never)}`);
    }
  }

  /** After a return to a step within an iteration: the record of a later iteration has replaced that of this one. */
  recordAgain(step: number): void {
    const { rollouts, journal, state } = this.#options;
    const found = state().iterations.find(({ iteration }) => rollouts.isWithin(step, iteration));
    if (found) journal.append({ kind: 'rollouts', step: rollouts.startOf(found.iteration), ...found });
  }

  /** What a resume needs besides the state. */
  checkpointFacts(step: number): { tokensSeen: number; rollouts?: KnownIteration } {
    const { rollouts, state, tokensAfter } = this.#options;
    const next = iterationAfter(step, rollouts.plan.stepsPerIteration);
    const found = state().iterations.find(({ iteration }) => iteration === next);
    return { tokensSeen: tokensAfter(step), ...(found && { rollouts: found }) };
  }

  #lease({ to, term, step, iteration, part }: Extract<RolloutEffect, { kind: 'rollout' }>): void {
    const { rollouts, send } = this.#options;
    const { endToken } = rollouts;
    const batch = rollouts.promptsOf(iteration, part);
    const { fields, payload } = encodeBatch(batch);
    const place = { term, step, iteration, part, sampleCount: batch.sampleCount, fields };
    send(to, { type: 'rollout', ...place, ...(endToken !== undefined && { endToken }) }, payload);
  }

  /** Rewards may take long, and the run may have lost the state that made the rollouts by then: the core compares. */
  async #judge(of: { iteration: number; step: number; committedTerm: number }): Promise<void> {
    const { rollouts, state, onEvent, onError } = this.#options;
    try {
      const { sha256, summary } = await rollouts.write(of.iteration, () => {
        const { checkpointInFlight, checkpointAbandoned } = state();
        return [checkpointInFlight?.step, checkpointAbandoned].filter((step) => step !== undefined);
      });
      onEvent({ kind: 'rolloutsWritten', ...of, sha256, kl: summary.kl });
    } catch (error) {
      if (!(error instanceof UserError || error instanceof PeerError)) return onError(error);
      const blame = error instanceof UserError ? 'user' : 'run';
      onEvent({ kind: 'rolloutsFailed', ...of, message: error.message, blame });
    }
  }
}
