/** What the page knows of a run. Types only. */
import type { EventLine, SampleLine, StepLine, ValidationLine } from '../../records/runLines.ts';
import type { SentPoint } from '../runUpdate.ts';

export interface RunState {
  readonly name: string;
  readonly points: readonly SentPoint[];
  readonly validations: readonly ValidationLine[];
  readonly newest: StepLine | undefined;
  readonly tokensPerSecond: number | undefined;
  readonly mfu: number | undefined;
  /** The evaluation with the lowest loss. */
  readonly best: ValidationLine | undefined;
  readonly events: readonly EventLine[];
  readonly samples: readonly SampleLine[];
  readonly maxSteps: number | undefined;
  isRunning: boolean;
}
