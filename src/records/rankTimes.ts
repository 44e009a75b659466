/** The time spent in steps, by rank: medians over a run of any length, in bounded memory. */
import { quantile } from '../base/statistics.ts';
import type { StepTimings } from '../comm/messageFields.ts';

/** The phases of a step in their order, with their names for readers. */
export const phases = [
  ['dataWaitMs', 'data wait'],
  ['forwardBackwardMs', 'forward and backward'],
  ['ringWaitMs', 'ring wait'],
  ['commitWaitMs', 'commit wait'],
  ['optimizerMs', 'optimizer'],
] as const satisfies readonly (readonly [keyof StepTimings, string])[];

/** The phases and what remains of a step: messages, logging, waiting for a core. */
export const phaseNames: readonly string[] = [...phases.map(([, name]) => name), 'rest'];

type RankName = number | 'median' | 'slowest';

export interface RankTime {
  /** Steps of many ranks have the median of each phase, and the slowest rank. */
  readonly rank: RankName;
  /** Number of steps with known times. */
  readonly steps: number;
  /** Milliseconds per step: the mean of each phase and of the rest, in the order of {@link phaseNames}. */
  readonly meanMs: readonly number[];
  /** Half of its steps, and 95 of 100, took no longer in forward and backward, ring wait and all phases together. */
  readonly p50Ms: number;
  readonly p95Ms: number;
}

/** The fields of a rank in a line of metrics.jsonl. */
type RankLine = { readonly rank: RankName } & { readonly [phase in keyof StepTimings]?: number | undefined };

interface Sums {
  steps: number;
  readonly phaseMs: number[];
  restMs: number;
  readonly busyMs: ThinnedSamples;
}

export class RankTimes {
  readonly #ranks = new Map<RankName, Sums>();
  readonly #stepMs = new ThinnedSamples();

  /** @param tokens of this step; without a speed its time is unknown */
  add(tokens: number, tokensPerSecond: number | undefined, ranks: readonly RankLine[]): void {
    if (tokensPerSecond === undefined || !(tokensPerSecond > 0) || !(tokens > 0)) return;
    const stepMs = (1_000 * tokens) / tokensPerSecond;
    this.#stepMs.add(stepMs);
    for (const line of ranks) {
      const times = phases.map(([phase]) => line[phase]);
      if (!times.every((time) => time !== undefined)) continue;
      let sums = this.#ranks.get(line.rank);
      if (sums === undefined) {
        sums = { steps: 0, phaseMs: phases.map(() => 0), restMs: 0, busyMs: new ThinnedSamples() };
        this.#ranks.set(line.rank, sums);
      }
      const busyMs = times.reduce((sum, time) => sum + time, 0);
      sums.steps++;
      for (const [i, time] of times.entries()) sums.phaseMs[i]! += time;
      sums.restMs += Math.max(0, stepMs - busyMs);
      sums.busyMs.add(busyMs);
    }
  }

  /** A quantile of the time from one step to the next, in milliseconds; NaN if no time is known. */
  stepQuantileMs(share: number): number {
    return this.#stepMs.quantile(share);
  }

  /** By rank. */
  get ranks(): RankTime[] {
    return [...this.#ranks]
      .map(([rank, { steps, phaseMs, restMs, busyMs }]) => ({
        rank,
        steps,
        meanMs: [...phaseMs, restMs].map((sum) => sum / steps),
        p50Ms: busyMs.quantile(0.5),
        p95Ms: busyMs.quantile(0.95),
      }))
      .sort((a, b) => placeOf(a.rank) - placeOf(b.rank));
  }
}

/** After all ranks. */
function placeOf(rank: RankName): number {
  return rank === 'median' ? Number.MAX_SAFE_INTEGER - 1 : rank === 'slowest' ? Number.MAX_SAFE_INTEGER : rank;
}

const samplesMax = 8_192;

/** Every k-th of the values, k doubling whenever there are too many. */
class ThinnedSamples {
  #kept: number[] = [];
  #every = 1;
  #count = 0;

  add(value: number): void {
    if (this.#count++ % this.#every !== 0) return;
    this.#kept.push(value);
    if (this.#kept.length < samplesMax) return;
    this.#kept = this.#kept.filter((_, i) => i % 2 === 0);
    this.#every *= 2;
  }

  quantile(share: number): number {
    return quantile(this.#kept, share);
  }
}
