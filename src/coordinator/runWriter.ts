/**
 * Records a run and reports it to listeners: the journal, from which a killed coordinator resumes, the metrics and the
 * events.
 */
import { hostname } from 'node:os';
import { UserError } from '../base/errors.ts';
import { isAlive, processWord } from '../base/processes.ts';
import type { LoggedEvent } from '../records/eventsLog.ts';
import { type CoordinatorOptions, progressBefore } from './coordinatorOptions.ts';
import type { Effect } from './core/effects.ts';
import type { Member } from './core/runState.ts';
import { type CountedSamples, evaluationMetrics, StepRecords } from './stepRecords.ts';

type EffectOf<K extends Effect['kind']> = Extract<Effect, { kind: K }>;

/** Number of warnings caused by unknown peers that are displayed. */
const warningsOfStrangersMax = 10;

export class RunWriter {
  readonly #options: CoordinatorOptions;
  readonly #steps: StepRecords;
  #warningsOfStrangers = 0;
  #isAbandoned = false;
  /** Whether the first term of this coordinator was opened, from where its own batch size counts. */
  #isSettled = false;
  #validation: { step: number; loss: number } | undefined;

  /** @param nowMs time on the run's monotonic clock, as everywhere below */
  constructor(options: CoordinatorOptions, nowMs: number, counted: CountedSamples) {
    this.#options = options;
    const { config, tokenFlops, rollouts } = options;
    const meansAt = rollouts && ((step: number) => rollouts.meansAt(step));
    this.#steps = new StepRecords(config, nowMs, progressBefore(options), { counted, tokenFlops, meansAt });
  }

  /** The members begin the next step now. */
  stepBegins(nowMs: number): void {
    this.#steps.begin(nowMs);
  }

  termOpened({ term, step, members: all }: EffectOf<'termOpened'>): void {
    const members = all.map(({ worker, host, pid }) => {
      const isHere = host === hostname() && isAlive(pid);
      return { worker, host, pid, ...(isHere && { process: processWord(pid) }) };
    });
    if (!this.#isSettled) this.#steps.settle(step);
    this.#isSettled = true;
    const { globalBatchSize } = this.#options.config.train;
    const samples = this.#steps.samplesAfter(step);
    this.#options.journal.append({ kind: 'term', term, step, members, samples, globalBatchSize });
  }

  /** Recorded before anyone is told: a killed coordinator resumes from here. */
  committed(effect: EffectOf<'committed'>, nowMs: number): void {
    this.#options.journal.append(this.#steps.commit(effect, nowMs));
  }

  /** Every member has applied the step. */
  stepDone(effect: EffectOf<'stepDone'>, nowMs: number, members: readonly Member[]): void {
    const line = this.#steps.metrics(effect, nowMs, members);
    this.#options.metrics.append(line);
    this.#options.listener.step(line);
  }

  /** @throws UserError if no validation target counts */
  evaluated({ step, sums }: EffectOf<'evaluationDone'>): void {
    if (!(sums.weight > 0)) {
      throw new UserError(
        `the validation data has nothing to measure after step ${step}: none of its samples has a target`,
      );
    }
    const { data, validationText: text } = this.#options;
    const line = evaluationMetrics(step, sums, { objective: data.objective, text });
    this.#validation = { step, loss: line.valLoss };
    this.#options.metrics.append(line);
    this.#options.listener.evaluated(line);
  }

  /** Every state is lost: records of later steps are void. */
  rewind(effect: EffectOf<'rewind'>, at: { term: number; step: number }): void {
    this.#options.journal.append(effect);
    this.#options.metrics.rewind(effect.step);
    this.#steps.rewind(effect.step);
    this.event({ event: 'rewind', reason: `no worker has the state any more: back to step ${effect.step}`, ...at });
  }

  /** The run has ended after `step`; `event` says how. */
  ended(event: LoggedEvent, step: number): void {
    this.event(event);
    this.#options.journal.append({ kind: 'ended', step });
  }

  event(event: LoggedEvent): void {
    if (this.#isAbandoned) return;
    this.#options.events.append(event);
    this.#options.listener.logged?.(event);
  }

  /** The directory now belongs to another process: nothing more is written, whatever else happens. */
  abandon(): void {
    this.#isAbandoned = true;
  }

  /** Anyone who can reach the port can cause these warnings, so their number is limited. */
  warnOfStranger(message: string): void {
    if (++this.#warningsOfStrangers > warningsOfStrangersMax) return;
    const isLast = this.#warningsOfStrangers === warningsOfStrangersMax;
    this.#options.listener.warning(isLast ? `${message} (further warnings of this kind are not shown)` : message);
  }

  /** Number of samples trained on in the first `step` updates, where the data of the next update begins. */
  samplesAfter(step: number): number {
    return this.#steps.samplesAfter(step);
  }

  /** Number of tokens trained on in the first `step` updates. */
  tokensAfter(step: number): number {
    return this.#steps.tokensAfter(step);
  }

  /** Number of tokens of one step. */
  stepTokens(step: number): number {
    return this.#steps.stepTokens(step);
  }

  /** The facts about a step that its checkpoint records. */
  checkpointFacts(step: number): { samplesSeen: number; valLoss: number | null } {
    return {
      samplesSeen: this.samplesAfter(step),
      valLoss: this.#validation?.step === step ? this.#validation.loss : null,
    };
  }

  async close(): Promise<void> {
    await this.#options.metrics.flush();
    await this.#options.events.flush();
    await this.#options.journal.close();
  }
}
