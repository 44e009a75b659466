/**
 * The parts of an evaluation, and who computes them: this process, or others (evaluationPool.ts). A part has the same numbers wherever it
 * is computed, and results come in the order of the parts, so that sums do not depend on the number of processes.
 */
import type { Batch } from '../base/batch.ts';
import { addSums, noSums, type Sums } from '../base/sums.ts';
import { evaluateBatches } from '../model/evaluation.ts';
import { logitsAtTargets } from '../model/objectives/classes.ts';
import { pairLogprobs } from '../model/objectives/dpo.ts';
import { nextToken, targetLogprobs } from '../model/objectives/nextToken.ts';
import { checkObjective } from '../model/objectives/objective.ts';
import { reward } from '../model/objectives/reward.ts';
import { seq2seq } from '../model/objectives/seq2seq.ts';
import { Tape } from '../model/tape.ts';
import type { Answer } from '../task/exactMatch.ts';
import { answersTo, type BeamOptions } from './answers.ts';
import type { LoadedModel } from './loadModel.ts';

const objectives = { 'next-token': nextToken, reward, seq2seq } as const;

/** The objectives whose sums are measures. */
export type SummedObjective = keyof typeof objectives;

/** What parts contain, and what they give. */
interface PartKinds {
  /** The sums of an objective. */
  sums: { part: { readonly objective: SummedObjective; readonly batch: Batch }; result: Sums };
  /** The logits [K] at each target. */
  logits: { part: { readonly batch: Batch }; result: readonly Float32Array[] };
  /** The log probabilities [pairs, 2] of chosen and rejected answers. */
  pairs: { part: { readonly batch: Batch }; result: Float64Array };
  /** The log probability of the targets of each sample. */
  targets: { part: { readonly batch: Batch }; result: Float64Array };
  /** The most likely answer to each prompt. */
  answers: {
    part: {
      readonly prompts: readonly (readonly number[])[];
      readonly endTokens: readonly number[];
      /** Absent: the most likely token every time. */
      readonly beams?: BeamOptions | undefined;
    };
    result: readonly Answer[];
  };
}

export type PartKind = keyof PartKinds;
export type Part<Kind extends PartKind = PartKind> = { [K in Kind]: { readonly kind: K } & PartKinds[K]['part'] }[Kind];
export type PartResult<Kind extends PartKind = PartKind> = PartKinds[Kind]['result'];

/** Called with the number of samples or answers that were done since the last call. */
export type OnDone = (count: number) => void;

export interface Evaluator {
  /** Number of processes. */
  readonly workers: number;
  /** The result of each part, in the order of the parts. */
  compute<Kind extends PartKind>(parts: Iterable<Part<Kind>>, onDone: OnDone): AsyncIterable<PartResult<Kind>>;
}

/** Number of samples or answers. */
export function sizeOfPart(part: Part): number {
  return part.kind === 'answers' ? part.prompts.length : part.batch.sampleCount;
}

type Loaded = Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>;

/** A part for each batch. */
export function* partsOf<Kind extends 'logits' | 'pairs' | 'targets'>(
  kind: Kind,
  batches: Iterable<Batch>,
): Generator<{ kind: Kind; batch: Batch }, void, undefined> {
  for (const batch of batches) yield { kind, batch };
}

/** The sums of an objective over batches, added in their order. @throws UserError if the model does not fit the objective */
export async function addedSums(
  evaluator: Evaluator,
  {
    loaded: { model },
    objective,
    batches,
    onDone,
  }: {
    readonly loaded: Pick<LoadedModel, 'model'>;
    readonly objective: SummedObjective;
    readonly batches: Iterable<Batch>;
    readonly onDone: OnDone;
  },
): Promise<Sums> {
  checkObjective(objectives[objective], model.config);
  let total = noSums;
  for await (const sums of evaluator.compute(sumParts(objective, batches), onDone)) total = addSums(total, sums);
  return total;
}

function* sumParts(objective: SummedObjective, batches: Iterable<Batch>): Generator<Part<'sums'>, void, undefined> {
  for (const batch of batches) yield { kind: 'sums', objective, batch };
}

/** Computes in this process. */
export function ownEvaluator(loaded: Loaded): Evaluator {
  return {
    workers: 1,
    async *compute(parts, onDone) {
      for (const part of parts) yield await computePart(loaded, part, onDone);
    },
  };
}

export async function computePart<Kind extends PartKind>(
  loaded: Loaded,
  part: Part<Kind>,
  onDone: OnDone = () => undefined,
): Promise<PartResult<Kind>> {
  return (await compute(loaded, part as Part, onDone)) as PartResult<Kind>;
}

async function compute(loaded: Loaded, part: Part, onDone: OnDone): Promise<PartResult> {
  if (part.kind === 'answers') return answersTo(part.prompts, { loaded, ...part, onDone });
  const result = await computeBatch(loaded, part);
  onDone(sizeOfPart(part));
  return result;
}

async function computeBatch(
  { engine, model }: Loaded,
  part: Exclude<Part, { readonly kind: 'answers' }>,
): Promise<PartResult> {
  const { batch } = part;
  if (part.kind === 'sums') return evaluateBatches({ engine, model, objective: objectives[part.objective] }, [batch]);
  const tape = new Tape(engine);
  try {
    switch (part.kind) {
      case 'logits':
        return (await logitsAtTargets(tape, model, batch)).map(({ logits }) => logits);
      case 'pairs':
        return await pairLogprobs(tape, model, batch);
      case 'targets':
        return await targetLogprobs(tape, model, batch);
      default:
        return part satisfies never;
    }
  } finally {
    tape.discard();
  }
}
