/** What the server tells a page of a run. Types only: the page's code has them too. */
import type { EventLine, SampleLine, StepLine, ValidationLine } from '../records/runLines.ts';
import type { Point } from './series.ts';

/** As JSON has it: null where a number is not known. */
export type SentPoint = { readonly [Name in keyof Point]: Name extends 'step' ? number : number | null };

export interface RunUpdate {
  readonly name: string;
  /** It replaces everything that the page had. */
  readonly reset: boolean;
  /** They take the place of whatever the page has after the step `after`. */
  readonly points: readonly SentPoint[];
  readonly after: number;
  readonly newest: StepLine | undefined;
  /** Over the newest steps; undefined where no speed is known. */
  readonly tokensPerSecond: number | undefined;
  readonly mfu: number | undefined;
  /** The evaluation with the lowest loss. */
  readonly best: ValidationLine | undefined;
  /** Complete lists; absent if nothing is new. */
  readonly validations?: readonly ValidationLine[];
  readonly events?: readonly EventLine[];
  readonly samples?: readonly SampleLine[];
  readonly maxSteps: number | undefined;
  /** A process trains in the directory. */
  readonly isRunning: boolean;
}

/** An update of one of the runs on the page, by its index. */
export type IndexedUpdate = RunUpdate & { readonly index: number };
