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
import { countedPairs, pairArray, pairFields, pairNumbers, pairSides } from '../../task/pairBatch.ts';
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

/** What distinguishes one such objective from another. */
export interface PairObjective {
  readonly name: string;
  /** Default: those of `pairFields`. */
  readonly fields?: (model: ModelConfig) => FieldRules;
  /** 2B·T float32 numbers. */
  readonly values: (tape: Tape, model: Model, rows: PairRows, options: ForwardOptions) => Variable;
  /** A row's score is this times the sum of the values at its targets. */
  readonly sign: 1 | -1;
  readonly loss: (pair: ScoredPair) => PairLoss;
}

/** An objective from its scores and the loss of a pair. */
export function pairObjective({ name, fields = pairFields, values, ...judge }: PairObjective): Objective {
  const forward = (tape: Tape, model: Model, rows: Interleaved, options: ForwardOptions): Variable =>
    values(
      tape,
      model,
      {
        tokens: tape.upload(rows.tokens, [rows.count, rows.length]),
        targets: tape.upload(rows.targets, [rows.targets.length]),
      },
      options,
    );
  return {
    name,
    fields,
    async step(tape, model, batch, { scale, dropout, activationRecompute, onForward, onGradReady }) {
      const rows = interleaved(batch);
      const options = { training: true, dropout: dropout && ofRows(dropout), activationRecompute };
      const of = forward(tape, model, rows, options);
      const { sums, gradient } = judgePairs(batch, rows, await tape.read(of), judge);
      await onForward?.();
      const scaled = Float32Array.from(gradient, (slope) => scale * slope);
      tape.backward([{ of, grad: tape.upload(scaled, of.shape) }], onGradReady);
      return sums;
    },
    async evaluate(tape, model, batch) {
      const rows = interleaved(batch);
      return judgePairs(batch, rows, await tape.read(forward(tape, model, rows, {})), judge).sums;
    },
  };
}

/** The sums over all pairs, and the derivative of the loss by each of the pass's numbers, both in float64. */
function judgePairs(
  batch: Batch,
  { length, targets }: Interleaved,
  values: Float32Array,
  { sign, loss }: Pick<PairObjective, 'sign' | 'loss'>,
): { sums: PassSums; gradient: Float64Array } {
  const gradient = new Float64Array(values.length);
  const sums: Record<string, number> & { weight: number; loss: number } = { weight: 0, loss: 0 };
  for (const [pair, isCounted] of countedPairs(batch).entries()) {
    if (!isCounted) continue;
    const places = pairSides.map((_, side) => {
      const from = (2 * pair + side) * length;
      return Array.from({ length }, (_, t) => from + t).filter((n) => targets[n]! >= 0);
    });
    const [chosen, rejected] = places.map((row) => sign * row.reduce((sum, n) => sum + values[n]!, 0));
    const field = (name: string) => pairNumbers(batch, name, pair);
    const judged = loss({ chosen: chosen!, rejected: rejected!, field });
    const added = { ...judged.sums, weight: 1, loss: judged.loss };
    for (const [name, value] of Object.entries(added)) sums[name] = (sums[name] ?? 0) + value;
    for (const [side, name] of pairSides.entries()) {
      for (const n of places[side]!) gradient[n] = sign * judged.slopes[name];
    }
  }
  return { sums, gradient };
}

/** -log σ(margin), the loss of a pair that is chosen with probability σ(margin), and its derivative. */
export function logisticLoss(margin: number): { loss: number; slope: number } {
  const tail = Math.exp(-Math.abs(margin));
  return {
    loss: Math.max(0, -margin) + Math.log1p(tail),
    slope: -(margin > 0 ? tail : 1) / (1 + tail),
  };
}

/** The masks of the rows: two for each sample, whatever the microbatch it is in. */
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
