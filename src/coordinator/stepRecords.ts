/**
 * The records of a step: in the journal when it is committed, before anyone is told, and in the metrics when every member has
 * applied it. Both contain means, computed from the sums over all ranks.
 */
import { meansOf, type Sums } from '../base/sums.ts';
import type { Config } from '../config/configTypes.ts';
import type { TrainingSamples } from '../data/runData.ts';
import type { JournalRecord } from '../records/journalRecords.ts';
import type { EvaluationMetrics, StepMetrics } from '../records/metricsLog.ts';
import type { RankMetrics, RankShare } from '../records/rankSummary.ts';
import { bitsPerByte, lossAndPerplexity, predictsTokens, type TextSize } from '../task/textMeasures.ts';
import type { Effect, RankReport } from './core/effects.ts';
import type { Member } from './core/runState.ts';
import { utilisation } from './utilisation.ts';

/** Amount of data trained on after a number of updates. */
export interface Progress {
  readonly step: number;
  readonly samples: number;
  /** Number of samples of each step after it, if it is not that of the config. */
  readonly globalBatchSize?: number;
}

/** What the records need to know of the training samples. */
export type CountedSamples = Pick<TrainingSamples, 'sampleLimit' | 'tokensIn'>;

export interface StepFacts {
  readonly counted: CountedSamples;
  /** Floating-point operations of a token, in a sequence of mean length; absent: not known. */
  readonly tokenFlops?: number | undefined;
  /** Other means of a step, by name. Default: none. */
  readonly meansAt?: ((step: number) => Readonly<Record<string, number>>) | undefined;
}

export class StepRecords {
  readonly #config: Config;
  readonly #counted: CountedSamples;
  /** Positions from which samples are counted, oldest first; the batch size may have changed at each. */
  #known: readonly Progress[];
  /** The rank that each sample of the committed step belonged to. */
  #shares: readonly { rank: number; sampleFrom: number; sampleCount: number }[] = [];
  #startedMs: number;
  /** Time of the newest step. */
  #commit: { readonly atMs: number; readonly hold: boolean } | undefined;

  readonly #tokenFlops: number | undefined;
  readonly #meansAt: (step: number) => Readonly<Record<string, number>>;

  /**
   * @param nowMs time on the run's monotonic clock, as everywhere below
   * @param known amounts trained on before, from checkpoint and journal, oldest first
   */
  constructor(
    config: Config,
    nowMs: number,
    known: readonly Progress[],
    { counted, tokenFlops, meansAt = () => ({}) }: StepFacts,
  ) {
    this.#meansAt = meansAt;
    this.#counted = counted;
    this.#known = known;
    this.#tokenFlops = tokenFlops;
    this.#config = config;
    this.#startedMs = nowMs;
  }

  /** The members begin the next step now; earlier time is not part of it. */
  begin(nowMs: number): void {
    this.#startedMs = nowMs;
  }

  /** Every state is lost: the run resumes from `step`. */
  rewind(step: number): void {
    this.#known = this.#known.filter((progress) => progress.step <= step);
  }

  /** The steps after `step` have the batch size of the config, whatever workers have applied before. */
  settle(step: number): void {
    this.#known = [...this.#known, { step, samples: this.samplesAfter(step) }];
  }

  /** Number of tokens trained on in the first `step` updates, at whatever batch sizes. */
  tokensAfter(step: number): number {
    return this.#counted.tokensIn(this.samplesAfter(step));
  }

  /** Number of samples trained on in the first `step` updates. The padding that completes the last batch does not count. */
  samplesAfter(step: number): number {
    const { train } = this.#config;
    const found = this.#known.findLast((progress) => progress.step <= step);
    const last = { step: 0, samples: 0, globalBatchSize: train.globalBatchSize, ...found };
    const samples = last.samples + (step - last.step) * last.globalBatchSize;
    return Math.min(samples, Math.max(last.samples, this.#counted.sampleLimit));
  }

  /** Number of tokens of one step. */
  stepTokens(step: number): number {
    const after = this.samplesAfter(step);
    // Earlier steps, which another process committed, may have had another batch size.
    const before = Math.max(this.samplesAfter(step - 1), after - this.#config.train.globalBatchSize);
    return this.#counted.tokensIn(after) - this.#counted.tokensIn(before);
  }

  commit(committed: Extract<Effect, { kind: 'committed' }>, nowMs: number): JournalRecord {
    this.#commit = { atMs: nowMs, hold: committed.hold };
    const { term, ranks, step, learningRate: lr, sums, gradNorm } = committed;
    this.#shares = ranks;
    const [tokens, samples] = [this.tokensAfter(step), this.samplesAfter(step)];
    return { kind: 'commit', term, ...this.#measuresOf(step, sums), gradNorm, step, tokens, samples, lr, ranks };
  }

  /** The line of a step that every remaining member has now applied. */
  metrics(
    { step, term, learningRate, sums, gradNorm, ranks }: Extract<Effect, { kind: 'stepDone' }>,
    nowMs: number,
    members: readonly Member[] = [],
  ): StepMetrics {
    const reports = new Map(ranks.map((report) => [report.rank, report]));
    const [first] = ranks;
    const endMs = this.#endOf(ranks.length > 0, nowMs);
    const seconds = (endMs - this.#startedMs) / 1_000;
    const stepTokens = this.stepTokens(step);
    // Padding is not work.
    const flops = this.#tokenFlops && this.#tokenFlops * stepTokens;
    const mfu = utilisation(flops, seconds, this.#config.train.peakTflops, members);
    const line: StepMetrics = {
      step,
      ...this.#measuresOf(step, sums),
      lr: learningRate,
      gradNorm,
      tokens: this.tokensAfter(step),
      term,
      tokensPerSecond: stepTokens / seconds,
      ...(mfu !== undefined && { mfu }),
      // Workers lost after the commit computed their shares all the same.
      ranks: this.#shares.map((share) => {
        const report = reports.get(share.rank);
        return report === undefined ? share : rankMetrics(share, report);
      }),
      ...(first?.parameterHash !== undefined && { parameterHash: first.parameterHash }),
    };
    this.#startedMs = endMs;
    return line;
  }

  /**
   * The end of one step and the start of the next. This is the commit, because the next step's work cannot start earlier; reports of
   * applied steps may arrive when the next step is well under way. Only before a pause does a step end when it is applied, and not
   * even then if no worker is left to report it: that time was spent on finding out.
   */
  #endOf(isReported: boolean, nowMs: number): number {
    if (this.#commit === undefined || (this.#commit.hold && isReported)) return nowMs;
    return this.#commit.atMs;
  }

  #measuresOf(step: number, sums: Sums): ReturnType<typeof measuresOf> {
    const { loss, means } = measuresOf(sums);
    const all = { ...means, ...this.#meansAt(step) };
    return { loss, ...(Object.keys(all).length > 0 && { means: all }) };
  }
}

/** Field by field: spreading both objects would take twenty times the memory, for every rank of every step. */
function rankMetrics(share: RankShare, { timings, ringBytesSent }: RankReport) {
  return {
    rank: share.rank,
    sampleFrom: share.sampleFrom,
    sampleCount: share.sampleCount,
    dataWaitMs: timings.dataWaitMs,
    forwardBackwardMs: timings.forwardBackwardMs,
    ringWaitMs: timings.ringWaitMs,
    commitWaitMs: timings.commitWaitMs,
    optimizerMs: timings.optimizerMs,
    ringBytesSent,
  } satisfies Required<RankMetrics>;
}

/** What an evaluation measured. */
export interface Evaluated {
  /** The name of its objective; perplexity is for those that predict tokens. */
  readonly objective: string;
  /** For bits per byte, if the targets are those of this text; the bytes of a part of them are not known. */
  readonly text: TextSize | undefined;
}

/** The line of an evaluation. */
export function evaluationMetrics(step: number, sums: Sums, { objective, text }: Evaluated): EvaluationMetrics {
  const { loss, perplexity } = lossAndPerplexity(sums);
  const { loss: _, ...others } = measuresOf(sums);
  return {
    step,
    valLoss: loss,
    ...(predictsTokens(objective) && { valPerplexity: perplexity }),
    valTargets: sums.weight,
    ...(text?.targets === sums.weight && { valBitsPerByte: bitsPerByte(sums, text.bytes) }),
    ...others,
  };
}

/** The mean loss, and for objectives with more sums their means. */
function measuresOf(sums: Sums): { loss: number; means?: Readonly<Record<string, number>> } {
  const { loss, others } = meansOf(sums);
  return { loss, ...(Object.keys(others).length > 0 && { means: others }) };
}
