/**
 * The state of a run, and how it changes: every event goes to the decision core (core/decide.ts), whose new state is kept, whose reason is recorded and
 * whose effects are passed on. What carries these out: effectRunner.ts.
 */
import type { Clock } from '../base/clock.ts';
import type { FlightRecorder } from '../base/flightRecorder.ts';
import { isTelling, withoutSecrets } from '../comm/flightMessages.ts';
import { decide } from './core/decide.ts';
import type { Effect } from './core/effects.ts';
import type { RunEvent } from './core/runEvents.ts';
import type { RunState } from './core/runState.ts';

export interface DecisionsOptions {
  readonly clock: Clock;
  readonly recorder: FlightRecorder | undefined;
  /** The decision core, if not the real one. */
  readonly decide?: typeof decide | undefined;
  readonly carryOut: (effects: readonly Effect[]) => void;
  /** A decision or an effect has failed. */
  readonly onError: (error: unknown) => void;
}

export class Decisions {
  readonly #options: DecisionsOptions;
  #state: RunState;
  #isClosed = false;

  constructor(initial: RunState, options: DecisionsOptions) {
    this.#state = initial;
    this.#options = options;
  }

  /** The current state of the run. */
  get state(): RunState {
    return this.#state;
  }

  /** When something happens, for the records. */
  get at(): { term: number; step: number } {
    const { term, step } = this.#state;
    return { term, step };
  }

  /** Whether the run has ended, well or not. */
  get hasEnded(): boolean {
    return this.#state.stage === 'finished' || this.#state.stage === 'failed';
  }

  /** Returns when the effects are carried out. Never throws: timers and sockets call it, and they would not catch an error. */
  handle(event: RunEvent): void {
    // Workers that end in the meantime still report.
    if (this.#isClosed) return;
    try {
      const core = this.#options.decide ?? decide;
      const { state, effects, reason } = core(this.#state, event, this.#options.clock.monotonic());
      this.#state = state;
      this.#record(event, reason);
      this.#options.carryOut(effects);
    } catch (error) {
      this.#options.onError(error);
    }
  }

  /** The run ends without a decision. Returns the ids of the workers that do not know it yet. */
  fail(): string[] {
    const { members, joiners } = this.#state;
    this.#state = { ...this.#state, stage: 'failed' };
    return [...members, ...joiners].map(({ id }) => id);
  }

  /** Later events are ignored. */
  close(): void {
    this.#isClosed = true;
  }

  /** The first of several reports stands for all. */
  #record(event: RunEvent, reason: string): void {
    const { recorder } = this.#options;
    const message = event.kind === 'message' ? event.message : event.kind === 'reports' && event.reports[0]?.message;
    if (message && isTelling(message)) {
      const from = event.kind === 'reports' ? event.reports.map((report) => report.from) : undefined;
      recorder?.record('received', {
        ...(from ? { kind: event.kind, from } : event),
        message: withoutSecrets(message),
        reason,
      });
    } else if (!message && event.kind !== 'tick') recorder?.record('received', { ...event, reason });
    else if (reason !== '') recorder?.record('decided', { reason });
  }
}
