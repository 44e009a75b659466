/**
 * Objectives that compare two sequences, a chosen and a rejected one. All pairs of a batch go through the model in one pass, whose rows
 * alternate: chosen 0, rejected 0, chosen 1, … Each row has a score, a sum over its targets of numbers that the pass computes. The loss
 * of a pair and its slopes are computed from both scores on the host in float64, and backward starts from the slopes.
 *
 * B pairs, T time.
 */
import type { ModelConfig } from '../../architecture/registry.ts';
import type { Batch, BatchArray } from '../../base/batch.ts';
import type { Tensor } from '../../engine/tensor.ts';
import type { FieldRules } from '../../task/fields.ts';
import { countedPairs, pairArray, pairFields, pairNumbers } from '../../task/pairBatch.ts';
import type { ForwardOptions, Model } from '../model.ts';
import type { DropoutSource } from '../pass.ts';
import type { Tape } from '../tape.ts';
import type { Variable } from '../variable.ts';
import type { Objective, PassSums } from './objective.ts';

/** The input of the pass: the rows of all pairs. */
export interface PairRows {
  /** [2B, T] int32. */
  readonly tokens: Tensor;
  /** [2B·T] int32; -1 is masked. */
  readonly targets: Tensor;
}

/** One pair after the forward pass. */
export interface ScoredPair {
  /** The scores of its rows. */
  readonly chosen: number;
  readonly rejected: number;
  /** Its numbers in another array of the batch. */
  readonly field: (name: string) => ArrayLike<number>;
}

/** The loss of one pair. */
export interface PairLoss {
  readonly loss: number;
  /** The derivatives of the loss by the scores. */
  readonly slopes: { readonly chosen: number; readonly rejected: number };
  /** Further named numbers, which are summed over pairs. */
  readonly sums: Readonly<Record<string, number>>;
}

/** How a row gets its score: `sign` times the sum of the values at its targets. */
export interface PairScoring {
  /** 2B·T float32 numbers. */
  readonly values: (tape: Tape, model: Model, rows: PairRows, options: ForwardOptions) => Variable;
  readonly sign: 1 | -1;
}

/** What distinguishes one such objective from another. */
export interface PairObjective extends PairScoring {
  readonly name: string;
  /** As in {@link Objective}. */
  readonly modelProblem: NonNullable<Objective['modelProblem']>;
  /** Default: those of `pairFields`. */
  readonly fields?: (model: ModelConfig) => FieldRules;
  readonly loss: (pair: ScoredPair) => PairLoss;
}

/** An objective from its scores and the loss of a pair. */
export function pairObjective(pairs: PairObjective): Objective {
  return {
    name: pairs.name,
    modelProblem: pairs.modelProblem,
    fields: pairs.fields ?? pairFields,
    async step(tape, model, batch, { scale, dropout, activationRecompute, onForward, onGradReady }) {
      const rows = interleaved(batch);
      const of = forward(tape, model, rows, pairs, {
        training: true,
        dropout: dropout && ofRows(dropout),
        activationRecompute,
      });
      const { sums, slopes } = judge(batch, scoresOf(await tape.read(of), rows, pairs), pairs);
      await onForward?.();
      const grad = Float32Array.from(rows.targets, (target, n) =>
        target < 0 ? 0 : scale * pairs.sign * slopes[Math.floor(n / rows.length)]!,
      );
      tape.backward([{ of, grad: tape.upload(grad, of.shape) }], onGradReady);
      return sums;
    },
    evaluate: async (tape, model, batch) => judge(batch, await pairScores(tape, model, batch, pairs), pairs).sums,
  };
}

/** The scores of all rows of a batch: [B, 2], chosen and rejected. */
export async function pairScores(tape: Tape, model: Model, batch: Batch, scoring: PairScoring): Promise<Float64Array> {
  const rows = interleaved(batch);
  return scoresOf(await tape.read(forward(tape, model, rows, scoring, {})), rows, scoring);
}

function forward(
  tape: Tape,
  model: Model,
  { count, length, tokens, targets }: Interleaved,
  { values }: PairScoring,
  options: ForwardOptions,
): Variable {
  const rows = { tokens: tape.upload(tokens, [count, length]), targets: tape.upload(targets, [targets.length]) };
  return values(tape, model, rows, options);
}

function scoresOf(values: Float32Array, { count, length, targets }: Interleaved, { sign }: PairScoring): Float64Array {
  const scores = new Float64Array(count);
  for (const [n, value] of values.entries()) if (targets[n]! >= 0) scores[Math.floor(n / length)]! += sign * value;
  return scores;
}

/** The sums over all pairs, and the derivatives of the loss by their scores, as in `pairScores`. */
function judge(batch: Batch, scores: Float64Array, { loss }: PairObjective): { sums: PassSums; slopes: Float64Array } {
  const slopes = new Float64Array(scores.length);
  const sums: Record<string, number> & { weight: number; loss: number } = { weight: 0, loss: 0 };
  for (const [pair, isCounted] of countedPairs(batch).entries()) {
    if (!isCounted) continue;
    const [chosen, rejected] = scores.subarray(2 * pair, 2 * pair + 2);
    const field = (name: string) => pairNumbers(batch, name, pair);
    const judged = loss({ chosen: chosen!, rejected: rejected!, field });
    const added = { ...judged.sums, weight: 1, loss: judged.loss };
    for (const [name, value] of Object.entries(added)) sums[name] = (sums[name] ?? 0) + value;
    slopes.set([judged.slopes.chosen, judged.slopes.rejected], 2 * pair);
  }
  return { sums, slopes };
}

/** -log σ(margin), the loss of a pair that is chosen with probability σ(margin), and its derivative. */
export function logisticLoss(margin: number): { loss: number; slope: number } {
  const tail = Math.exp(-Math.abs(margin));
  return {
    loss: Math.max(0, -margin) + Math.log1p(tail),
    slope: -(margin > 0 ? tail : 1) / (1 + tail),
  };
}

/** The dropout masks of the rows. Each sample has two, which do not depend on its microbatch. */
function ofRows(dropout: DropoutSource): DropoutSource {
  return { ...dropout, firstSample: 2 * dropout.firstSample };
}

interface Interleaved {
  /** Number of rows: two for each pair. */
  readonly count: number;
  /** Number of tokens in a row. */
  readonly length: number;
  readonly tokens: Int32Array;
  readonly targets: Int32Array;
}

function interleaved(batch: Batch): Interleaved {
  const [chosen, rejected] = [pairArray(batch, 'chosen'), pairArray(batch, 'rejected')];
  const length = chosen.shape[0]!;
  return {
    count: 2 * batch.sampleCount,
    length,
    tokens: alternate(chosen, rejected, length),
    targets: alternate(pairArray(batch, 'chosenTargets'), pairArray(batch, 'rejectedTargets'), length),
  };
}

/** The rows of both, taken by turns. */
function alternate(first: BatchArray, second: BatchArray, length: number): Int32Array {
  const rows = new Int32Array(2 * first.data.length);
  for (let from = 0; from < first.data.length; from += length) {
    rows.set(first.data.subarray(from, from + length), 2 * from);
    rows.set(second.data.subarray(from, from + length), 2 * from + length);
  }
  return rows;
}
