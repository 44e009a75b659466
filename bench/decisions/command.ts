/** `npm run bench -- decisions`: what the coordinator's decisions cost with many workers. */
import type { CommandModule } from 'yargs';
import { countsOption, numberOption } from '../../src/cli/options.ts';
import { renderDecisionsHead, renderDecisionsRow, runDecisionsBench } from './decisionsBench.ts';

interface BenchDecisionsArguments {
  readonly workers: string;
  readonly steps: number;
  readonly json: boolean;
}

export const benchDecisionsCommand: CommandModule<unknown, BenchDecisionsArguments> = {
  command: 'decisions',
  describe: "Time the coordinator's decisions for a step, and for workers lost at once, without sockets",
  builder: (yargs) =>
    yargs
      .option('workers', {
        type: 'string',
        default: '64,256,1024',
        describe: 'Numbers of workers, with commas between',
      })
      .option('steps', { type: 'number', default: 50, describe: 'Steps timed, after 20 that are not' })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('npm run bench -- decisions', 'with 64, 256 and 1,024 fake workers: some seconds'),
  handler: ({ workers, steps, json }) => {
    numberOption('steps', steps, { min: 1, max: 1e6, whole: true });
    const counts = countsOption('workers', workers, { min: 4, max: 65_536 });
    const print = (text: string) => void process.stdout.write(text);
    if (!json) print(renderDecisionsHead());
    const results = counts.map((count) => {
      const result = runDecisionsBench(count, steps);
      if (!json) print(renderDecisionsRow(result));
      return result;
    });
    if (json) print(`${JSON.stringify({ results }, null, 2)}\n`);
  },
};
