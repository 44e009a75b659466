/** The end of a learning-rate sweep: its plot, and the rate that follows from it. */
import { join } from 'node:path';
import { shortPath } from '../base/shortPath.ts';
import { readRun } from '../records/runRecord.ts';
import { writePicture } from '../report/picture.ts';
import { type Sweep, sweepChart, sweepOf } from '../report/sweepChart.ts';
import { print } from './output.ts';

/** The plot of a sweep, in its run directory. */
const pictureName = 'sweep.svg';

/** Writes the plot into the run directory, and prints what it shows. */
export async function printSweep(folder: string): Promise<void> {
  const sweep = sweepOf(await readRun(folder));
  const path = join(folder, pictureName);
  await writePicture(path, sweepChart(sweep));
  print(`${sweepText(sweep)} (${shortPath(path)})`);
}

/** The lowest loss, and the conclusion from it. */
export function sweepText({ lowest, suggested, isFalling }: Sweep): string {
  if (lowest === undefined) return 'no loss is finite: lower schedule.minLearningRate';
  const [rate, loss] = lowest;
  const at = `the loss is lowest, ${loss.toFixed(4)}, at the learning rate ${rate.toExponential(1)}`;
  if (isFalling) return `${at}, the highest: raise schedule.learningRate, or train.maxSteps, and sweep again`;
  if (suggested === undefined) return `${at}, close to the lowest: lower schedule.minLearningRate and sweep again`;
  return `${at}; suggested schedule.learningRate: ${suggested.toExponential(1)}, a tenth of it`;
}
