/** The live view of a run on a terminal: listens to the run, and draws what it knows at most ten times a second. */
import type { RunListener } from '../../coordinator/coordinatorOptions.ts';
import type { RunState } from '../../coordinator/core/runState.ts';
import type { StepMetrics } from '../../records/metricsLog.ts';
import { type Output, plainOutput, setOutput } from '../output.ts';
import { type ProgressOptions, progressPrinter, stepLine } from '../progress.ts';
import { paint, wantsColor } from '../terminal.ts';
import { LiveBlock } from './block.ts';
import { cellsOf, plainText, rendered } from './text.ts';
import { viewLines } from './viewLines.ts';
import * as reduce from './viewState.ts';

const redrawMs = 100;

export interface LiveViewOptions extends ProgressOptions {
  /** Updates applied before the run. */
  readonly startStep: number;
  /** The coordinator's state, once it exists. */
  readonly state: () => RunState | undefined;
  readonly stream?: NodeJS.WriteStream;
}

export interface LiveView {
  readonly listener: Partial<RunListener>;
  /** Removes the view and prints the last step as a line. */
  close(): void;
}

/** Draws on the terminal until it is closed. Until then all lines of this process go above the view. */
export function openLiveView(options: LiveViewOptions): LiveView {
  const { maxSteps, stepTokens, startStep, state, stream = process.stdout } = options;
  const colors = wantsColor(stream);
  const block = new LiveBlock(stream);
  let view = reduce.initialView({ maxSteps, stepTokens, step: startStep });
  let last: StepMetrics | undefined;
  const draw = () => {
    // Wall-clock time, used only for the age of events.
    const lines = viewLines(view, state(), { columns: stream.columns, rows: stream.rows }, Date.now());
    block.draw(lines.map((line) => ({ text: rendered(line, colors), cells: cellsOf(plainText(line)) })));
  };
  const before = setOutput(
    outputAbove(block, colors, (note) => {
      view = reduce.noted(view, note, true, Date.now());
    }),
  );
  const resized = () => {
    block.resized(stream.columns);
    draw();
  };
  stream.on('resize', resized);
  // Ctrl-Z: remove the rows so that the shell does not print among them. The view resumes after `fg`.
  const stopped = () => {
    block.suspend();
    process.off('SIGTSTP', stopped);
    process.kill(process.pid, 'SIGTSTP');
    // Runs after `fg`, or at once if the system does not stop the process because no shell could resume it.
    setImmediate(() => {
      process.on('SIGTSTP', stopped);
      block.resume();
      draw();
    });
  };
  process.on('SIGTSTP', stopped);
  const timer = setInterval(draw, redrawMs);
  timer.unref();
  draw();
  const printed = progressPrinter(options);
  return {
    listener: {
      ...printed,
      lengthChanged(maxSteps) {
        printed.lengthChanged?.(maxSteps);
        view = { ...view, maxSteps };
      },
      step(metrics) {
        last = metrics;
        view = reduce.afterStep(view, metrics);
      },
      evaluated(metrics) {
        printed.evaluated(metrics);
        view = reduce.afterEvaluation(view, metrics);
      },
      logged(event) {
        view = reduce.afterEvent(view, event, Date.now());
      },
    },
    close() {
      clearInterval(timer);
      stream.off('resize', resized);
      process.off('SIGTSTP', stopped);
      block.close();
      setOutput(before);
      if (last !== undefined) before.print(stepLine(last, view.maxSteps, view.tokensPerSecond));
    },
  };
}

/** Includes warnings if both streams are this terminal; otherwise they go to standard error. */
function outputAbove(block: LiveBlock, colors: boolean, onWarning: (line: string) => void): Output {
  return {
    print: (line) => block.above(line),
    conclude: (line) => block.above(line),
    warn(line) {
      onWarning(line);
      if (process.stderr.isTTY) block.above(`${colors ? paint('yellow', 'warning:') : 'warning:'} ${line}`);
      else plainOutput.warn(line);
    },
  };
}
