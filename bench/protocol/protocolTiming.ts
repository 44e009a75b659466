/** What `npm run bench -- protocol` times in a run (protocolRun.ts): many steps, or many heartbeats. protocolBench.ts says what they mean. */
import { InvariantError, PeerError } from '../../src/base/errors.ts';
import type { Decision } from '../../src/coordinator/core/effects.ts';
import type { RunEvent } from '../../src/coordinator/core/runEvents.ts';
import { type ProtocolRunOptions, withProtocolRun } from './protocolRun.ts';

type TimedRun = Pick<ProtocolRunOptions, 'workers' | 'encrypted' | 'onWarning'>;

export interface StepSamples {
  /** For each step, in order: time from `reduced` to `commit` on the rank whose `reduced` came last. */
  readonly commitMs: readonly number[];
  /** From the end of the step before to its own, on the coordinator. */
  readonly stepMs: readonly number[];
  /** Time of all timed steps together. */
  readonly elapsedMs: number;
  /** Processor time of this process in them. */
  readonly cpuMs: number;
  readonly heartbeatIntervalMs: number;
  /** What the workers compute on. */
  readonly engine: string;
}

/** Steps that are not timed: both ends compile their code in the first hundreds. */
const warmUpSteps = 300;
const fastHeartbeatMs = 10;
const heartbeatWarmUpMs = 500;
const heartbeatTimedMs = 2_000;

/** @param onProgress told the part of the steps that is done */
export async function timeSteps(
  { steps, ...run }: TimedRun & { readonly steps: number },
  onProgress: (done: number) => void,
): Promise<StepSamples> {
  const maxSteps = warmUpSteps + steps;
  const clock = new StepClock(onProgress, maxSteps);
  return await withProtocolRun(
    { ...run, maxSteps },
    (event, decision) => clock.saw(event, decision),
    async ({ finished, config }) => {
      await finished;
      return clock.samples(config.comm.heartbeatIntervalMs);
    },
  );
}

/** Follows the decisions of a run from commit to commit. */
class StepClock {
  readonly #onProgress: (done: number) => void;
  readonly #maxSteps: number;
  readonly #commitMs: number[] = [];
  readonly #stepMs: number[] = [];
  #lastRank = -1;
  #doneMs = 0;
  #fromMs = 0;
  #cpuFrom = process.cpuUsage();
  #cpuMs = 0;
  #engine = '';

  constructor(onProgress: (done: number) => void, maxSteps: number) {
    this.#onProgress = onProgress;
    this.#maxSteps = maxSteps;
  }

  saw(event: RunEvent, { state, effects }: Decision): void {
    for (const effect of effects) {
      if (effect.kind === 'started') this.#engine = effect.members[0]?.prepared?.engine ?? '';
      else if (effect.kind === 'committed' && event.kind === 'message') {
        this.#lastRank = state.members.find(({ id }) => id === event.from)?.rank ?? -1;
      } else if (effect.kind === 'stepDone') {
        const last = effect.ranks.find(({ rank }) => rank === this.#lastRank);
        if (last === undefined) throw new InvariantError(`rank ${this.#lastRank} has no report of step ${effect.step}`);
        this.#stepDone(effect.step, last.timings.commitWaitMs);
      }
    }
  }

  #stepDone(step: number, commitMs: number): void {
    const nowMs = performance.now();
    if (step > warmUpSteps) {
      this.#commitMs.push(commitMs);
      this.#stepMs.push(nowMs - this.#doneMs);
    } else if (step === warmUpSteps) {
      this.#fromMs = nowMs;
      this.#cpuFrom = process.cpuUsage();
    }
    this.#doneMs = nowMs;
    if (step === this.#maxSteps) this.#cpuMs = cpuMsSince(this.#cpuFrom);
    this.#onProgress(step / this.#maxSteps);
  }

  samples(heartbeatIntervalMs: number): StepSamples {
    return {
      commitMs: this.#commitMs,
      stepMs: this.#stepMs,
      elapsedMs: this.#doneMs - this.#fromMs,
      cpuMs: this.#cpuMs,
      heartbeatIntervalMs,
      engine: this.#engine,
    };
  }
}

/** Processor time of the coordinator's process for one heartbeat, in milliseconds. */
export async function timeHeartbeats(options: TimedRun): Promise<number> {
  let heartbeats = 0;
  let onPrepared: () => void = () => {};
  const prepared = new Promise<void>((resolve) => {
    onPrepared = resolve;
  });
  const observe = (event: RunEvent, { state: { joiners } }: Decision) => {
    if (event.kind !== 'message') return;
    if (event.message.type === 'heartbeat') heartbeats++;
    const built = joiners.filter((joiner) => joiner.prepared !== undefined);
    if (event.message.type === 'prepared' && built.length === options.workers) onPrepared();
  };
  return await withProtocolRun(
    { ...options, maxSteps: 1, heartbeatIntervalMs: fastHeartbeatMs, idle: true },
    observe,
    async ({ finished, stop }) => {
      // It ends when it is told to, or with an error.
      const orFail = <T>(work: Promise<T>) => Promise.race([work, finished.then(() => Promise.reject(endedEarly()))]);
      await orFail(prepared);
      await orFail(pause(heartbeatWarmUpMs));
      const cpuFrom = process.cpuUsage();
      heartbeats = 0;
      await orFail(pause(heartbeatTimedMs));
      const cpuMs = cpuMsSince(cpuFrom) / heartbeats;
      if (heartbeats === 0) throw new PeerError(`no heartbeat came within ${heartbeatTimedMs} ms`);
      stop();
      await finished;
      return cpuMs;
    },
  );
}

function endedEarly(): Error {
  return new InvariantError('an idle run ended by itself');
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function cpuMsSince(from: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(from);
  return (user + system) / 1_000;
}
