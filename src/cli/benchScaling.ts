/** `launch bench scaling`: the speed of training by number of workers, as a table, pictures and a page. */
import { join } from 'node:path';
import type { CommandModule } from 'yargs';
import { UserError } from '../base/errors.ts';
import { runScalingBench, type ScalingMode, type ScalingReport } from '../bench/scalingBench.ts';
import {
  renderScalingHead,
  renderScalingPhases,
  renderScalingRow,
  scalingPage,
  scalingPictures,
} from '../bench/scalingReport.ts';
import type { Config } from '../config/configTypes.ts';
import { loadConfig } from '../config/load.ts';
import { writeOutput, writePicture } from '../report/picture.ts';
import { countsOption, numberOption } from './options.ts';
import { print } from './output.ts';
import { statusLine } from './terminal.ts';

interface BenchScalingArguments {
  readonly workers: string;
  readonly config: string;
  readonly set: string[];
  readonly device: 'real' | 'simulated';
  readonly 'compute-ms': number;
  readonly mode: ScalingMode | 'both';
  readonly batch: number;
  readonly steps: number;
  readonly out: string;
  readonly json: boolean;
}

export const benchScalingCommand: CommandModule<unknown, BenchScalingArguments> = {
  builder: (yargs) =>
    yargs
      .option('workers', { type: 'string', default: '1,2,4', describe: 'Numbers of workers, separated by commas' })
      .option('config', { type: 'string', default: 'shakespeare-gpt.yaml', describe: 'Config, as for training' })
      .option('set', { type: 'string', array: true, default: [], describe: 'Override keys, such as model.nLayer=4' })
      .option('device', {
        choices: ['real', 'simulated'] as const,
        default: 'real' as const,
        describe: 'real: the engine, its threads shared among workers; simulated: timed waits, real ring and protocol',
      })
      .option('compute-ms', { type: 'number', default: 40, describe: 'Simulated compute time per sample, in ms' })
      .option('mode', {
        choices: ['strong', 'weak', 'both'] as const,
        default: 'both' as const,
        describe: 'strong: fixed global batch; weak: fixed batch per worker',
      })
      .option('batch', { type: 'number', default: 4, describe: 'Samples per worker, at the highest number of workers' })
      .option('steps', { type: 'number', default: 8, describe: 'Timed steps, after three for warm-up' })
      .option('out', {
        type: 'string',
        default: 'scaling',
        describe: 'Output folder for bench.html, bench.json and pictures',
      })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('$0 bench scaling --workers 1,2,4,8 --device simulated', '43 MB of gradients: about a minute')
      .example('$0 bench scaling --workers 1,2 --config shakespeare-char.yaml --steps 50', 'with the engine'),
  handler: async (args) => {
    const { device, mode, batch, steps, out, json } = args;
    numberOption('steps', steps, { min: 1, max: 1e6, whole: true });
    numberOption('batch', batch, { min: 1, max: 1e6, whole: true });
    const computeMs = numberOption('compute-ms', args['compute-ms'], { min: 0, max: 1e6 });
    const workers = countsOption('workers', args.workers, { min: 1, max: 64 });
    const options = {
      config: configOf(args),
      workers: [...new Set(workers)].sort((a, b) => a - b),
      modes: mode === 'both' ? (['weak', 'strong'] as const) : [mode],
      ...(device === 'simulated' && { computeMs }),
      batch,
      steps,
      // Standard output is for the table.
      onWarning: (message: string) => void process.stderr.write(`warning: ${message}\n`),
    };
    const listener = {
      progress: statusLine('timing runs'),
      ...(!json && {
        started: (head: Parameters<typeof renderScalingHead>[0]) => void process.stdout.write(renderScalingHead(head)),
        measured: (result: Parameters<typeof renderScalingRow>[0]) =>
          void process.stdout.write(renderScalingRow(result)),
      }),
    };
    const report = await runScalingBench(options, listener);
    await writeFiles(report, out);
    if (json) return void process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    process.stdout.write(renderScalingPhases(report));
    print(`\npictures and page: ${join(out, 'bench.html')}`);
  },
};

/** The config with only what a step needs: the runs do nothing but steps. */
function configOf({ config: file, set }: BenchScalingArguments): Config {
  const { config } = loadConfig({ file, overrides: ['data.text=builtin', ...set], cwd: process.cwd() });
  if (config.data.shards.length > 0)
    throw new UserError('bench scaling trains on a text: use data.text instead of data.shards');
  return {
    ...config,
    train: { ...config.train, hashEverySteps: 0 },
    checkpoint: { ...config.checkpoint, everySteps: 0 },
    eval: { ...config.eval, everySteps: 0 },
    schedule: { ...config.schedule, decaySteps: 0 },
  };
}

async function writeFiles(report: ScalingReport, folder: string): Promise<void> {
  await writeOutput(join(folder, 'bench.json'), `${JSON.stringify(report, null, 2)}\n`);
  await writeOutput(join(folder, 'bench.html'), scalingPage(report));
  for (const { name, svg } of scalingPictures(report)) {
    await writePicture(join(folder, `${name}.svg`), svg);
    await writePicture(join(folder, `${name}.png`), svg);
  }
}
