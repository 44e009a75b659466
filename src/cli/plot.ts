/** `launch plot`: a picture with the curves of one or more runs. */
import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes, Options } from 'yargs';
import { UserError } from '../base/errors.ts';
import { expandHome } from '../base/userPath.ts';
import { metricNames, readRun } from '../records/runRecord.ts';
import { checkPictureName, writePicture } from '../report/picture.ts';
import { hasMetric, runChart } from '../report/runChart.ts';
import { runsHint } from '../run/runFolder.ts';
import { numberOption } from './options.ts';
import { print, warn } from './output.ts';

/** Weight of the past if `--smooth` has no value. */
const defaultSmoothing = 0.9;

const plotOptions = {
  metric: { choices: metricNames, default: 'loss' as const, describe: 'Metric to plot' },
  out: { type: 'string', requiresArg: true, describe: 'Output file, .svg or .png [default: METRIC.svg]' },
  smooth: {
    type: 'string',
    describe: `Smooth with a moving average: weight of the past, below 1 [without a value: ${defaultSmoothing}]`,
  },
} as const satisfies Record<string, Options>;

type PlotArguments = InferredOptionTypes<typeof plotOptions> & { readonly runs: string[] };

export const plotCommand: CommandModule<object, PlotArguments> = {
  builder: (yargs) =>
    yargs
      .positional('runs', { type: 'string', array: true, demandOption: true, describe: 'Run directories' })
      .options(plotOptions)
      .example('$0 plot runs/quickstart', 'loss.svg, with the validation losses')
      .example('$0 plot runs/a runs/b --metric valLoss --out val.png', 'two runs in one picture')
      .example('$0 plot runs/a runs/b --smooth 0.98', 'smoothed, with the raw curves in the background') as never,
  handler: plot,
};

async function plot({ runs, metric, smooth, ...args }: ArgumentsCamelCase<PlotArguments>): Promise<void> {
  const out = expandHome(args.out ?? `${metric}.svg`);
  checkPictureName(out);
  const smoothing = smooth === undefined ? 0 : smooth === '' ? defaultSmoothing : Number(smooth);
  numberOption('smooth', smoothing, { min: 0, max: 0.9999 });
  const records = [];
  for (const run of runs) {
    const record = await readRun(run, (path) => runsHint(path, process.cwd()));
    if (record.badLines > 0) warn(`${run}: ${record.badLines} unreadable lines in its logs were skipped`);
    if (!hasMetric(record, metric)) warn(`${run} has no ${metric} yet`);
    records.push(record);
  }
  if (!records.some((record) => hasMetric(record, metric))) throw new UserError(`no ${metric} to plot in these runs`);
  await writePicture(out, runChart(records, { metric, smoothing }));
  print(out);
}
