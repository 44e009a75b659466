/** The printed lines of a run: a header, a line every `train.logEverySteps` steps, evaluations, checkpoints, warnings. */
import { basename } from 'node:path';
import { countOf, grouped } from '../base/numberText.ts';
import type { RunListener } from '../coordinator/coordinatorOptions.ts';
import type { StepMetrics } from '../records/metricsLog.ts';
import { smoothedSpeed } from '../records/recentSpeed.ts';
import { print, warn } from './output.ts';

export interface ProgressOptions {
  readonly maxSteps: number;
  readonly logEverySteps: number;
  /** Tokens of one step. */
  readonly stepTokens: number;
}

/** Prints the events of a run through output.ts. */
export function progressPrinter(options: ProgressOptions): RunListener {
  const { logEverySteps } = options;
  let { maxSteps } = options;
  const stepLabel = (step: number) => labelOf(step, maxSteps);
  let firstPrinted = false;
  let tokensPerSecond: number | undefined;
  return {
    started(members) {
      const engines = new Set(members.map(({ prepared }) => prepared?.engine ?? ''));
      print(`${countOf(members.length, 'worker')} ready: ${[...engines].join(', ')}`);
    },
    lengthChanged(changed) {
      maxSteps = changed;
    },
    step(metrics) {
      const { step } = metrics;
      tokensPerSecond = smoothedSpeed(tokensPerSecond, metrics.tokensPerSecond);
      if (firstPrinted && step % logEverySteps !== 0 && step !== maxSteps) return;
      firstPrinted = true;
      const left = ((maxSteps - step) * options.stepTokens) / tokensPerSecond;
      print(`${stepLine(metrics, maxSteps, tokensPerSecond)}  ${duration(left)} left`);
    },
    evaluated({ step, valLoss, valPerplexity, valBitsPerByte, means = {} }) {
      const parts = [`validation loss ${valLoss.toFixed(4)}`];
      if (valPerplexity !== undefined) parts.push(`perplexity ${valPerplexity.toPrecision(5)}`);
      if (valBitsPerByte !== undefined) parts.push(`${valBitsPerByte.toFixed(4)} bits per byte`);
      for (const [name, mean] of Object.entries(means)) parts.push(`${name} ${mean.toPrecision(4)}`);
      print([stepLabel(step), ...parts].join('  '));
    },
    checkpoint(outcome) {
      if ('error' in outcome) {
        warn(
          `the checkpoint of step ${outcome.step} was not written: ${outcome.error}. Earlier checkpoints are kept and training continues.`,
        );
      } else {
        print(`${stepLabel(outcome.step)}  checkpoint ${basename(outcome.path)}`);
      }
    },
    event({ event, reason, action }) {
      const line = action === undefined ? reason : `${reason}; ${action}`;
      if (event === 'lost' || event === 'warning') warn(line);
      else print(line);
    },
    warning: warn,
  };
}

/** `step  400/2000  loss 2.2749  …`: the numbers of one step. @param tokensPerSecond smoothed */
export function stepLine({ step, loss, lr, gradNorm }: StepMetrics, maxSteps: number, tokensPerSecond: number): string {
  return (
    `${labelOf(step, maxSteps)}  loss ${loss.toFixed(4)}  lr ${lr.toExponential(2)}  grad norm ${gradNorm.toFixed(2)}  ` +
    `${grouped(Math.round(tokensPerSecond))} tokens/s`
  );
}

function labelOf(step: number, maxSteps: number): string {
  return `step ${String(step).padStart(String(maxSteps).length)}/${maxSteps}`;
}

/** `1:02:03` or `2:03`. */
export function duration(seconds: number): string {
  const total = Math.max(0, Math.round(seconds));
  const hours = Math.floor(total / 3_600);
  const minutes = Math.floor(total / 60) % 60;
  const rest = String(total % 60).padStart(2, '0');
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`;
}

/** `1.5 GiB`. */
export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = count;
  let unit = 0;
  while (value >= 1_024 && unit < units.length - 1) {
    value /= 1_024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
