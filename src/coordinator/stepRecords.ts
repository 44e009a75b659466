/**
 * The records of a step: in the journal when it is committed, before anyone is told, and in the metrics when every member has
 * applied it. Both contain means, computed from the sums over all ranks.
 */
import { meansOf, type Sums } from '../base/sums.ts';
import type { Config } from '../config/configTypes.ts';
import type { JournalRecord } from '../records/journalRecords.ts';
import type { EvaluationMetrics, StepMetrics } from '../records/metricsLog.ts';
import { bitsPerByte, lossAndPerplexity, type TextSize } from '../task/textMeasures.ts';
import type { Effect, Member } from './core/runState.ts';
import { utilisation } from './utilisation.ts';

/** Amount of data trained on after a number of updates. */
export interface Progress {
  readonly step: number;
  readonly tokens: number;
}

export class StepRecords {
  readonly #config: Config;
  /** Positions from which tokens are counted, oldest first; the batch size may have changed at each. */
  #known: readonly Progress[];
  /** The rank that each sample of the committed step belonged to. */
  #shares: readonly { rank: number; sampleFrom: number; sampleCount: number }[] = [];
  #startedMs: number;
  /** Time of the newest step. */
  #commit: { readonly atMs: number; readonly hold: boolean } | undefined;

  readonly #stepFlops: number | undefined;

  /**
   * @param nowMs time on the run's monotonic clock, as everywhere below
   * @param known amounts trained on before, from checkpoint and journal, oldest first
   * @param stepFlops floating-point operations of a step
   */
  constructor(config: Config, nowMs: number, known: readonly Progress[], stepFlops?: number) {
    this.#known = known;
    this.#stepFlops = stepFlops;
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

  /** Number of tokens trained on in the first `step` updates, at whatever batch sizes. */
  tokensAfter(step: number): number {
    const last = this.#known.findLast((progress) => progress.step <= step) ?? { step: 0, tokens: 0 };
    return last.tokens + (step - last.step) * this.#stepTokens;
  }

  commit(committed: Extract<Effect, { kind: 'committed' }>, nowMs: number): JournalRecord {
    this.#commit = { atMs: nowMs, hold: committed.hold };
    const { term, ranks, step, learningRate: lr, sums, gradNorm } = committed;
    this.#shares = ranks;
    return { kind: 'commit', term, ...measuresOf(sums), gradNorm, step, tokens: this.tokensAfter(step), lr, ranks };
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
    const mfu = utilisation(this.#stepFlops, seconds, this.#config.train.peakTflops, members);
    const line: StepMetrics = {
      step,
      ...measuresOf(sums),
      lr: learningRate,
      gradNorm,
      tokens: this.tokensAfter(step),
      term,
      tokensPerSecond: this.#stepTokens / seconds,
      ...(mfu !== undefined && { mfu }),
      // Workers lost after the commit computed their shares all the same.
      ranks: this.#shares.map((share) => {
        const report = reports.get(share.rank);
        return report === undefined ? share : { ...share, ...report.timings, ringBytesSent: report.ringBytesSent };
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

  get #stepTokens(): number {
    const { train, model } = this.#config;
    return train.globalBatchSize * model.blockSize;
  }
}

/** The line of an evaluation, with bits per byte if its targets are those of `text`; the bytes of a part of them are not known. */
export function evaluationMetrics(step: number, sums: Sums, text: TextSize | undefined): EvaluationMetrics {
  const { loss, perplexity } = lossAndPerplexity(sums);
  const { loss: _, ...others } = measuresOf(sums);
  return {
    step,
    valLoss: loss,
    valPerplexity: perplexity,
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
