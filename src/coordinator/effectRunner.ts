/**
 * Carries out what the decision core decides: each effect with the part of the coordinator that it concerns. It has no state of its own. It does not
 * receive anything: messages and losses come to coordinator.ts.
 */
import type { Clock } from '../base/clock.ts';
import { InvariantError, PeerError, UserError } from '../base/errors.ts';
import { encodeBatch } from '../comm/batchPayload.ts';
import type { CoordinatorMessage } from '../comm/coordinatorMessages.ts';
import type { Assignments } from './assignments.ts';
import type { CoordinatorOptions } from './coordinatorOptions.ts';
import type { Effect } from './core/effects.ts';
import { listOf } from './core/roster.ts';
import type { Decisions } from './decisions.ts';
import type { Outbox } from './outbox.ts';
import type { RolloutDriver } from './rollouts/rolloutDriver.ts';
import type { RunWriter } from './runWriter.ts';
import type { StateExchange } from './stateExchange.ts';
import type { Timers } from './timers.ts';
import type { ValidationPlan } from './validationPlan.ts';

/** What it carries effects out with. */
export interface EffectRunnerParts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly decisions: Decisions;
  readonly outbox: Outbox;
  readonly writer: RunWriter;
  readonly assignments: Assignments;
  readonly validation: ValidationPlan;
  readonly states: StateExchange;
  readonly rollouts: RolloutDriver | undefined;
  /** The run has ended, after this step or with an error. */
  readonly onEnd: (end: number | Error) => void;
}

type EffectOf<K extends Effect['kind']> = Extract<Effect, { kind: K }>;

export class EffectRunner {
  readonly #options: CoordinatorOptions;
  readonly #parts: EffectRunnerParts;

  constructor(options: CoordinatorOptions, parts: EffectRunnerParts) {
    this.#options = options;
    this.#parts = parts;
  }

  carryOut(effects: readonly Effect[]): void {
    for (let i = 0; i < effects.length; ) {
      const effect = effects[i]!;
      if (effect.kind === 'assign') i += this.#parts.assignments.carryOut(effect, effects, i);
      else {
        this.#carryOutOne(effect);
        i++;
      }
    }
  }

  #carryOutOne(effect: Exclude<Effect, { kind: 'assign' }>): void {
    const { listener } = this.#options;
    const { clock, timers, decisions, writer, assignments, states, rollouts, onEnd } = this.#parts;
    switch (effect.kind) {
      case 'send':
        this.#send(effect.to, effect.message);
        break;
      case 'welcome':
        this.#welcome(effect.to);
        break;
      case 'evaluate':
        this.#evaluate(effect);
        break;
      case 'beginRollouts':
      case 'rollout':
      case 'keepRollouts':
      case 'judgeRollouts':
      case 'rolloutsKnown':
        rollouts?.carryOut(effect);
        break;
      case 'transfer':
        states.transfer(effect);
        break;
      case 'lengthChanged':
        listener.lengthChanged?.(effect.maxSteps);
        break;
      case 'rewind':
        writer.rewind(effect, decisions.at);
        rollouts?.recordAgain(effect.step);
        break;
      case 'termOpened':
        writer.termOpened(effect);
        break;
      case 'committed':
        writer.committed(effect, clock.monotonic());
        assignments.committed(effect.step, effect.term);
        break;
      case 'startWorker':
        timers.later(effect.afterMs, () => this.#options.startWorker(effect.worker));
        break;
      case 'killWorker':
        this.#options.killWorker(effect.worker);
        break;
      case 'event':
        writer.event(effect.event);
        if (effect.show) listener.event(effect.event);
        break;
      case 'beginCheckpoint':
        states.beginCheckpoint(effect);
        break;
      case 'abandonCheckpoint':
        void states.abandonCheckpoint(effect.step);
        break;
      case 'started':
        writer.stepBegins(clock.monotonic());
        listener.started(effect.members);
        break;
      case 'stepDone':
        writer.stepDone(effect, clock.monotonic(), listOf(decisions.state.members));
        break;
      case 'evaluationDone':
        writer.evaluated(effect);
        break;
      case 'warn':
        if (effect.ofStranger === true) writer.warnOfStranger(effect.message);
        else listener.warning(effect.message);
        break;
      case 'finish': {
        const reason = `the run ended after step ${effect.step}`;
        writer.ended({ event: 'finished', reason, ...decisions.at }, effect.step);
        onEnd(effect.step);
        break;
      }
      case 'fail':
        writer.ended({ event: 'failed', reason: effect.message, ...decisions.at }, decisions.state.step);
        onEnd(effect.blame === 'user' ? new UserError(effect.message) : new PeerError(effect.message));
        break;
      default:
        throw new InvariantError(`unknown effect ${JSON.stringify(effect satisfies never)}`);
    }
  }

  /** With `proceed` the members begin the next step. */
  #send(to: string, message: CoordinatorMessage): void {
    const { clock, outbox, writer } = this.#parts;
    if (message.type === 'proceed') writer.stepBegins(clock.monotonic());
    outbox.send(to, message);
  }

  #welcome(to: string): void {
    const { config, data, runId, reference, tracer } = this.#options;
    this.#parts.outbox.send(to, {
      type: 'welcome',
      runId,
      config: { ...config },
      vocabSize: data.vocabSize,
      objective: data.objective,
      trace: tracer !== undefined,
      ...(reference && { reference: { sha256: reference.sha256, bytes: reference.bytes } }),
    });
  }

  #evaluate({ to, term, step, rank, part }: EffectOf<'evaluate'>): void {
    const { decisions, outbox, validation } = this.#parts;
    const batch = validation.share(rank, decisions.state.members.length, part);
    const { fields, payload } = encodeBatch(batch);
    outbox.send(to, { type: 'evaluate', term, step, part, sampleCount: batch.sampleCount, fields }, payload);
  }
}
