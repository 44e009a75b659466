/** `npm run bench -- curve`: the losses of a fine-tuning run beside PyTorch's. */
import type { CommandModule } from 'yargs';
import { fixed, numberColumn, tableHeading, tableRow } from '../../src/bench/table.ts';
import { statusLine } from '../../src/cli/terminal.ts';
import { type Curve, compareCurves } from './curveBench.ts';

interface BenchCurveArguments {
  readonly config: string;
  readonly python: string;
  readonly set: readonly string[];
  readonly json: boolean;
}

export const benchCurveCommand: CommandModule<unknown, BenchCurveArguments> = {
  command: 'curve',
  describe: 'Compare the losses of a run that starts from weights with those of PyTorch, step by step',
  builder: (yargs) =>
    yargs
      .option('config', {
        type: 'string',
        default: 'sft',
        requiresArg: true,
        describe: 'A shipped config or a YAML file',
      })
      .option('python', {
        type: 'string',
        default: 'python3',
        requiresArg: true,
        describe: 'A Python with torch and transformers',
      })
      .option('set', { type: 'string', array: true, default: [], describe: 'Config keys, as group.key=value' })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example(
        'npm run bench -- curve --set model.from=runs/base data.examples=rows.jsonl train.maxSteps=100',
        '100 steps of fine-tuning',
      ),
  handler: async ({ config, python, set, json }) => {
    const curve = await compareCurves({ config, overrides: set, python }, statusLine('comparing'));
    process.stdout.write(json ? `${JSON.stringify({ config, ...curve }, null, 2)}\n` : toText(curve));
  },
};

/** Ten of the steps, and the largest difference of all. */
function toText({ version, points }: Curve): string {
  const columns = [
    numberColumn('step', 6),
    numberColumn('loss', 10),
    numberColumn('PyTorch', 10),
    numberColumn('difference', 10),
  ];
  const every = Math.max(1, Math.floor(points.length / 10));
  const rows = points
    .filter(({ step }) => step === 1 || step % every === 0)
    .map(({ step, loss, peerLoss }) => {
      const difference = Math.abs(loss - peerLoss).toExponential(1);
      return tableRow(columns, [String(step), fixed(loss, 6), fixed(peerLoss, 6), difference]);
    });
  const largest = Math.max(...points.map(({ loss, peerLoss }) => Math.abs(loss - peerLoss)));
  return (
    `${tableHeading(columns)}\n${rows.join('\n')}\n` +
    `largest difference ${largest.toExponential(1)} over ${points.length} steps (PyTorch ${version})\n`
  );
}
