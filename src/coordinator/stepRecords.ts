/**
 * What is written down of a step: in the journal when it is committed, before anyone is told, and in the metrics when every
 * member has applied it. Both say means, which are made of the sums over all ranks.
 */
import { meansOf, type Sums } from '../base/sums.ts';
import type { Config } from '../config/configTypes.ts';
import type { JournalRecord } from '../records/journalRecords.ts';
import type { EvaluationMetrics, StepMetrics } from '../records/metricsLog.ts';
import { bitsPerByte, lossAndPerplexity, type TextSize } from '../task/textMeasures.ts';
import type { Effect, Member } from './core/runState.ts';
import { utilisation } from './utilisation.ts';

/** What a run had been trained on after so many updates. */
export interface Progress {
  readonly step: number;
  readonly tokens: number;
}

export class StepRecords {
  readonly #config: Config;
  /** From where tokens are counted, oldest first: before each the batch size may have been another. */
  #known: readonly Progress[];
  /** Whose share each sample of the committed step was. */
  #shares: readonly { rank: number; sampleFrom: number; sampleCount: number }[] = [];
  #startedMs: number;
  /** Of the newest step. */
  #commit: { readonly atMs: number; readonly hold: boolean } | undefined;

  readonly #stepFlops: number | undefined;

  /**
   * @param nowMs of the run's monotonic clock, as everywhere below
   * @param known what checkpoint and journal say that was trained on before, oldest first
   * @param stepFlops floating-point operations that a step is worth
   */
  constructor(config: Config, nowMs: number, known: readonly Progress[], stepFlops?: number) {
    this.#known = known;
    this.#stepFlops = stepFlops;
    this.#config = config;
    this.#startedMs = nowMs;
  }

  /** The members begin the next step now: what came before was no part of it. */
  begin(nowMs: number): void {
    this.#startedMs = nowMs;
  }

  /** Everybody's state is lost: the run goes on from `step`. */
  rewind(step: number): void {
    this.#known = this.#known.filter((progress) => progress.step <= step);
  }

  /** Tokens that were trained on in the first `step` updates of the run, whatever its batch size was in each. */
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

  /** The line of a step that everybody who is left has applied now. */
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
      // Whoever was lost after the commit computed its share all the same.
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
   * Where one step ends and the next begins. That is the commit, which the work of the next step cannot come before; what is heard
   * of applied steps comes late at times, when the next one is well under way. Only before a pause the step ends when it is applied, and
   * not even then if nobody is left to say so: how long that took was spent on finding out.
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

/** The line of an evaluation, with bits per byte where its targets are those of `text`: of a part of them nobody has counted the bytes. */
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

/** The mean loss, and of an objective that has more sums their means. */
function measuresOf(sums: Sums): { loss: number; means?: Readonly<Record<string, number>> } {
  const { loss, others } = meansOf(sums);
  return { loss, ...(Object.keys(others).length > 0 && { means: others }) };
}
