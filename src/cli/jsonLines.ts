/**
 * `--json`: everything that a run reports, one JSON object per line on standard output. docs/guide/terminal.md lists the types and
 * fields. New fields may be added; existing ones keep their meaning.
 */
import type { RunListener } from '../coordinator/coordinatorOptions.ts';
import { metricsLine } from '../records/rankSummary.ts';
import type { Output } from './output.ts';

export type JsonLineType =
  | 'message'
  | 'warning'
  | 'run'
  | 'started'
  | 'length'
  | 'step'
  | 'evaluation'
  | 'checkpoint'
  | 'event'
  | 'sample'
  | 'exit';

/** Numbers that JSON cannot represent, such as the loss of a diverged run, become null. */
export function writeJsonLine(type: JsonLineType, fields: object): void {
  process.stdout.write(`${JSON.stringify({ type, ...fields })}\n`);
}

/** Text output, as JSON objects. */
export const jsonOutput: Output = {
  print: (text) => writeJsonLine('message', { text }),
  warn: (message) => writeJsonLine('warning', { message }),
  conclude: (text) => writeJsonLine('message', { text }),
  async sample(pieces) {
    let text = '';
    for await (const piece of pieces) text += piece;
    writeJsonLine('sample', { text });
  },
};

/** Every step, regardless of `train.logEverySteps`, and everything in events.jsonl. */
export const jsonListener: Partial<RunListener> = {
  started: (members) =>
    writeJsonLine('started', {
      members: members.map(({ rank, worker, host, pid, prepared }) => {
        return { rank, worker, host, pid, engine: prepared?.engine };
      }),
    }),
  lengthChanged: (maxSteps) => writeJsonLine('length', { maxSteps }),
  step: (metrics) => writeJsonLine('step', metricsLine(metrics)),
  evaluated: (metrics) => writeJsonLine('evaluation', metrics),
  checkpoint: (outcome) => writeJsonLine('checkpoint', outcome),
  logged: (event) => writeJsonLine('event', event),
  warning: (message) => writeJsonLine('warning', { message }),
};
