/**
 * `--json`: all that a run has to tell, one JSON object a line on standard output. docs/guide/terminal.md lists the types and
 * their fields; a field may be added, none changes its meaning.
 */
import type { RunListener } from '../coordinator/coordinatorOptions.ts';
import type { Output } from './output.ts';

export type JsonLineType =
  | 'message'
  | 'warning'
  | 'run'
  | 'started'
  | 'step'
  | 'evaluation'
  | 'checkpoint'
  | 'event'
  | 'sample'
  | 'exit';

/** Numbers that JSON cannot say, like the loss of a run that diverged, are null. */
export function writeJsonLine(type: JsonLineType, fields: object): void {
  process.stdout.write(`${JSON.stringify({ type, ...fields })}\n`);
}

/** Lines for people, as objects. */
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

/** Every step, whatever `train.logEverySteps` says, and all that events.jsonl gets. */
export const jsonListener: Partial<RunListener> = {
  started: (members) =>
    writeJsonLine('started', {
      members: members.map(({ rank, worker, host, pid, prepared }) => {
        return { rank, worker, host, pid, engine: prepared?.engine };
      }),
    }),
  step: (metrics) => writeJsonLine('step', metrics),
  evaluated: (metrics) => writeJsonLine('evaluation', metrics),
  checkpoint: (outcome) => writeJsonLine('checkpoint', outcome),
  logged: (event) => writeJsonLine('event', event),
  warning: (message) => writeJsonLine('warning', { message }),
};
