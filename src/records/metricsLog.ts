/**
 * `metrics.jsonl` of a run directory: one JSON object per line. Up to 16 ranks, the step lines are the ledger of a run: every sample of every
 * step is in one of them, once. For more ranks only the journal has the samples of each, and only those of the newest steps.
 *
 * - A step line has step, loss, lr, gradNorm, tokens (trained on so far), tokensPerSecond, mfu and term. For each rank it has
 *   the computed samples and the phase times; above 16 ranks a summary of them (rankSummary.ts).
 * - A validation line has step and valLoss; valPerplexity if the objective predicts tokens, and valBitsPerByte if their bytes are known.
 * - Both have `means` if the objective has other measures.
 */
import { messageOf, PeerError } from '../base/errors.ts';
import { LineLog, readLines, replaceLines } from './lineLog.ts';
import { metricsLine, type RankMetrics, type RankShare } from './rankSummary.ts';

/** What is known of every committed step: of one whose coordinator was killed before it wrote its line, no more than this. */
export interface CommittedStep {
  /** 1 is the first. */
  readonly step: number;
  /** Mean over the targets of the global batch, before the update. */
  readonly loss: number;
  /** Other measures of the objective, over the same targets; absent if it has none. */
  readonly means?: Readonly<Record<string, number>>;
  /** Learning rate of the update. */
  readonly lr: number;
  /** Before clipping. */
  readonly gradNorm: number;
  /** Number of tokens trained on so far, over the full run. */
  readonly tokens: number;
  /** Term of the membership that made the step; grows whenever workers join or leave. */
  readonly term: number;
  /** The samples of each rank: together the global batch, each sample once. */
  readonly ranks: readonly RankShare[];
}

/** What was measured of a step. Its line in metrics.jsonl is the same up to 16 ranks; above, it has `rankSummary` in place of `ranks`. */
export interface StepMetrics extends CommittedStep {
  /** Speed of this step over all workers: from the commit of the step before it, or the end of the pause before it, to its own commit or the pause after it. */
  readonly tokensPerSecond: number;
  /** Model FLOP utilisation, from 0 to 1 (utilisation.ts); absent where the limit of a machine is not known. */
  readonly mfu?: number;
  /** A rank that was lost before it could say how long the step took has its share only. */
  readonly ranks: readonly RankMetrics[];
  /** The same on every rank; present every `train.hashEverySteps` steps. */
  readonly parameterHash?: string;
}

/** A line of metrics.jsonl that is about the validation split, or the batches of it that `eval.batches` asks for. */
export interface EvaluationMetrics {
  /** Number of updates of the evaluated model. */
  readonly step: number;
  /** Mean over the targets, in nats. */
  readonly valLoss: number;
  /** e to the power of `valLoss`. Absent for an objective that predicts no tokens; logs of earlier versions always have it. */
  readonly valPerplexity?: number;
  /** For comparing tokenizers: of the text that the targets stand for. Absent where nobody has counted its bytes. */
  readonly valBitsPerByte?: number;
  /** Number of predicted tokens. */
  readonly valTargets: number;
  /** Other measures of the objective, over the same targets; absent if it has none. */
  readonly means?: Readonly<Record<string, number>>;
}

export class MetricsLog {
  readonly #log: LineLog;
  /** What the log had of the validation loss when it was opened, oldest first: NaN where it was not a number. */
  readonly evaluations: readonly { readonly step: number; readonly loss: number }[];

  private constructor(log: LineLog, evaluations: MetricsLog['evaluations']) {
    this.#log = log;
    this.evaluations = evaluations;
  }

  /**
   * Opens the log and drops lines after `step`: a resumed run repeats those steps. Then it adds the missing lines for `commits` after the
   * last step line, up to `step`.
   * @param commits oldest first
   * @throws PeerError if it cannot be read or written
   */
  static async open(
    path: string,
    step: number,
    onWarning: (message: string) => void,
    commits: readonly CommittedStep[] = [],
  ): Promise<MetricsLog> {
    try {
      const kept = await linesUpTo(path, step);
      const lastStep = kept.reduce((last, line) => (line.isStep ? Math.max(last, line.step) : last), 0);
      const missing = commits.filter((commit) => commit.step > lastStep && commit.step <= step);
      await replaceLines(path, [...kept.map(({ text }) => text), ...missing.map(encodeCommitted)]);
      return new MetricsLog(new LineLog(path, 'metrics', onWarning), evaluationsOf(kept));
    } catch (error) {
      throw new PeerError(`cannot open ${path}: ${messageOf(error)}`);
    }
  }

  /** The evaluations up to `step` of a log that stays as it is, oldest first. @throws PeerError if it cannot be read */
  static async readEvaluations(path: string, step: number): Promise<MetricsLog['evaluations']> {
    try {
      // A long run has many lines of steps, and none of them counts.
      const lines = step === 0 ? [] : (await readLines(path)).filter((text) => text.includes('"valLoss"'));
      return evaluationsOf(lines.map(parseLine).filter((line) => line.step <= step));
    } catch (error) {
      throw new PeerError(`cannot read ${path}: ${messageOf(error)}`);
    }
  }

  /** Queues a line. A write error is reported once, and the run continues. */
  append(line: StepMetrics | CommittedStep | EvaluationMetrics): void {
    this.#log.append(metricsLine(line));
  }

  /** Drops the lines after `step`, of those appended so far: the run continues from there and repeats those steps. */
  rewind(step: number): void {
    this.#log.filter((line) => parseLine(line).step <= step);
  }

  /** Resolves when every line is written. */
  flush(): Promise<void> {
    return this.#log.flush();
  }
}

/** Only what belongs in the line, in the order in which a live step has it. */
function encodeCommitted({ step, loss, means, lr, gradNorm, tokens, term, ranks }: CommittedStep): string {
  const shares = ranks.map(({ rank, sampleFrom, sampleCount }) => ({ rank, sampleFrom, sampleCount }));
  const line: CommittedStep = { step, loss, ...(means && { means }), lr, gradNorm, tokens, term, ranks: shares };
  return JSON.stringify(metricsLine(line));
}

interface ParsedLine {
  readonly text: string;
  readonly step: number;
  readonly isStep: boolean;
  /** The fields of a line about the validation loss. */
  readonly valLoss?: number;
}

async function linesUpTo(path: string, step: number): Promise<ParsedLine[]> {
  if (step === 0) return [];
  return (await readLines(path)).map(parseLine).filter((line) => line.step <= step);
}

function evaluationsOf(lines: readonly ParsedLine[]): MetricsLog['evaluations'] {
  return lines.flatMap(({ step, valLoss }) => (valLoss === undefined ? [] : [{ step, loss: valLoss }]));
}

/** A line with its step; one torn by a crash in the middle of a write counts as none to keep. */
function parseLine(text: string): ParsedLine {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && 'step' in value && typeof value.step === 'number') {
      const valLoss =
        'valLoss' in value ? { valLoss: typeof value.valLoss === 'number' ? value.valLoss : Number.NaN } : {};
      return { text, step: value.step, isStep: 'loss' in value, ...valLoss };
    }
  } catch {
    // Torn.
  }
  return { text, step: Number.POSITIVE_INFINITY, isStep: false };
}
