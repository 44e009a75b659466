/**
 * Lines of journal.jsonl, metrics.jsonl and events.jsonl as versions up to 0.1 wrote them: a term was called an epoch, and the format
 * of the journal was 1. They are read as if they were written today, so that a run of then can be resumed, drawn and reported.
 */
import { isRecord } from '../base/optionValues.ts';

/** @param value of a line, as JSON has it; what is of today comes back as it is */
export function inTodaysWords(value: unknown): unknown {
  if (!isRecord(value)) return value;
  const { epoch, ...rest } = value;
  // Beside a term it counts passes over the data, as in a metric of that name.
  const isOldTerm = epoch !== undefined && value['term'] === undefined;
  return {
    ...(isOldTerm ? { ...rest, term: epoch } : value),
    ...(value['kind'] === 'epoch' && { kind: 'term' }),
    ...(value['event'] === 'epoch' && { event: 'term' }),
    ...(isOfOldRun(value) && { format: 2 }),
  };
}

/** Maximum number of events between a loss and the membership after it. */
const between = 3;

interface OldEvent {
  readonly event: string;
  readonly reason: string;
  readonly action?: string | undefined;
}

/** Whether event number `at` is a membership of then that a loss shortly before it has told of: those of today say so (`isTold`). */
export function isToldOfOldRun(events: readonly OldEvent[], at: number): boolean {
  const { event, reason } = events[at]!;
  if (event !== 'term' || !/\(epoch \d+\)$/.test(reason)) return false;
  const before = events.slice(Math.max(0, at - between), at);
  return before.some((lost) => lost.action !== undefined && reason.startsWith(`${lost.reason}: `));
}

/** Whether it is the first record of a journal that must be rewritten before another record is added. */
export function isOfOldRun(value: unknown): boolean {
  return isRecord(value) && value['kind'] === 'run' && value['format'] === 1;
}
