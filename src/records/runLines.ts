/** The lines of metrics.jsonl, events.jsonl and samples.jsonl, for all readers of a run's files: dashboard, charts, reports. */
import { z } from 'zod';
import { inTodaysWords } from './oldRecords.ts';

const finite = z.number().finite();
/** JSON has no NaN: it was written as null. */
const orNaN = z.union([finite, z.null().transform(() => Number.NaN)]);

/** Measures of an objective besides its loss, by name. */
const means = z.record(z.string(), orNaN).optional();

const measures = {
  sampleCount: finite.optional(),
  dataWaitMs: finite.optional(),
  forwardBackwardMs: finite.optional(),
  ringWaitMs: finite.optional(),
  commitWaitMs: finite.optional(),
  optimizerMs: finite.optional(),
  ringBytesSent: finite.optional(),
};
const rank = z.object({ rank: z.number().int().min(0), ...measures, sampleCount: finite });
const rankSummary = z.object({
  count: finite,
  min: z.object(measures),
  median: z.object(measures),
  max: z.object(measures),
  slowest: rank.optional(),
});
/** A step whose coordinator was killed has no speed and no time. */
const stepFields = z.object({
  step: finite,
  loss: orNaN,
  means,
  lr: orNaN,
  gradNorm: orNaN,
  tokens: finite,
  term: finite,
  tokensPerSecond: finite.optional(),
  mfu: finite.optional(),
  /** Absent if there are more than 16. */
  ranks: z.array(rank).optional(),
  rankSummary: rankSummary.optional(),
});
const stepLine = stepFields.refine(
  ({ ranks, rankSummary: summary }) => (ranks === undefined) !== (summary === undefined),
  'expected ranks or rankSummary',
);
const validationLine = z.object({
  step: finite,
  valLoss: orNaN,
  valPerplexity: orNaN.optional(),
  valBitsPerByte: orNaN.optional(),
  means,
});
const eventLine = z.object({
  time: z.string(),
  event: z.string(),
  reason: z.string(),
  term: finite.optional(),
  step: finite,
  rank: finite.optional(),
  worker: z.string().optional(),
  cause: z.string().optional(),
  action: z.string().optional(),
  isTold: z.boolean().optional(),
});
const sampleLine = z.object({ step: finite, prompt: z.string(), text: z.string() });

export type StepLine = z.infer<typeof stepLine>;
type Measures = z.infer<typeof rankSummary>['median'];
export type ValidationLine = z.infer<typeof validationLine>;
export type EventLine = z.infer<typeof eventLine>;
export type SampleLine = z.infer<typeof sampleLine>;
export type Line =
  | { readonly kind: 'step'; readonly line: StepLine }
  | { readonly kind: 'validation'; readonly line: ValidationLine }
  | { readonly kind: 'event'; readonly line: EventLine }
  | { readonly kind: 'sample'; readonly line: SampleLine };

const kinds = { step: stepLine, validation: validationLine, event: eventLine, sample: sampleLine } as const;

/** Number of ranks of a step. */
export function rankCountOf({ ranks, rankSummary: summary }: StepLine): number {
  return ranks?.length ?? summary?.count ?? 0;
}

/** Each rank of a step; of many ranks, the medians of their measures and the slowest one. */
export function rankRowsOf({
  ranks,
  rankSummary: summary,
}: StepLine): (Measures & { rank: number | 'median' | 'slowest' })[] {
  if (ranks !== undefined) return ranks;
  const { median, slowest } = summary ?? {};
  return [
    ...(median === undefined ? [] : [{ ...median, rank: 'median' as const }]),
    ...(slowest === undefined ? [] : [{ ...slowest, rank: 'slowest' as const }]),
  ];
}

/** Undefined for a line that is torn, as the last one of a killed run may be, or of an unknown kind. */
export function parseLine(text: string): Line | undefined {
  let value: unknown;
  try {
    value = inTodaysWords(JSON.parse(text));
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const kind = 'loss' in value ? 'step' : 'valLoss' in value ? 'validation' : 'event' in value ? 'event' : 'sample';
  const parsed = kinds[kind].safeParse(value);
  return parsed.success ? ({ kind, line: parsed.data } as Line) : undefined;
}
