/** A recording as shots of a film: the time of the run is compressed, except around the death of the worker. */
import type { Shot } from './animation.ts';
import type { Capture, Recording } from './recording.ts';
import { type Row, rowsOf } from './screen.ts';

/** Seconds of film: before the kill, from it until the worker computes again, until the end, and how long the end stays. */
export const filmSeconds = { before: 5, around: 7, after: 5, end: 4 } as const;
const shotSeconds = 0.25;
/** How much of the recording belongs to it before the kill and after the return. */
const aroundMs = 1_000;

export interface Film {
  readonly shots: readonly Shot[];
  readonly seconds: number;
  /** A shot after the return of the worker: all of the story is on it. */
  readonly still: number;
}

export function filmOf({ captures, marks }: Recording): Film {
  const { before, around, after, end } = filmSeconds;
  const seconds = before + around + after + end;
  // Times of the film, and those of the recording that they show.
  const cuts = [
    [0, marks.training],
    [before, marks.killed - aroundMs],
    [before + around, marks.back + aroundMs],
    [before + around + after, marks.done],
    [seconds, Number.POSITIVE_INFINITY],
  ] as const;
  const shots: Shot[] = [];
  let shown: Capture | undefined;
  for (let from = 0; from < seconds; from += shotSeconds) {
    const next = cuts.findIndex(([film]) => film > from);
    const [[film0, real0], [film1, real1]] = [cuts[next - 1]!, cuts[next]!];
    const ms = next === cuts.length - 1 ? real1 : real0 + ((from - film0) / (film1 - film0)) * (real1 - real0);
    const capture = captures.findLast((candidate) => candidate.ms <= ms) ?? captures[0]!;
    if (capture !== shown) shots.push({ from, rows: rowsIn(capture.upper), otherRows: rowsIn(capture.lower) });
    shown = capture;
  }
  const still = shots.findLastIndex(({ from }) => from <= before + around);
  return { shots, seconds, still };
}

function rowsIn(captured: string): Row[] {
  return rowsOf(captured.trimEnd());
}
