/** `npm run bench -- seeds`: what a config's validation loss is over several seeds. */
import type { CommandModule } from 'yargs';
import { countsOption } from '../../src/cli/options.ts';
import { statusLine } from '../../src/cli/terminal.ts';
import { runSeedsBench, seedsTable } from './seedsBench.ts';

interface BenchSeedsArguments {
  readonly config: string;
  readonly seeds: string;
  readonly set: readonly string[];
  readonly json: boolean;
}

export const benchSeedsCommand: CommandModule<unknown, BenchSeedsArguments> = {
  command: 'seeds',
  describe: 'Train a config with several seeds: mean and range of the validation loss',
  builder: (yargs) =>
    yargs
      .option('config', {
        type: 'string',
        default: 'shakespeare-char',
        requiresArg: true,
        describe: 'A shipped config or a YAML file',
      })
      .option('seeds', {
        type: 'string',
        default: '1,2,3,4,5',
        requiresArg: true,
        describe: 'Seeds, separated by commas',
      })
      .option('set', { type: 'string', array: true, default: [], describe: 'Config keys, as group.key=value' })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('npm run bench -- seeds', 'shakespeare-char with the seeds 1 to 5: 5 to 10 minutes on 2 cores')
      .example('npm run bench -- seeds --seeds 1,2 --set train.maxSteps=500', 'two shorter runs'),
  handler: async ({ config, seeds, set, json }) => {
    const options = { config, seeds: countsOption('seeds', seeds, { min: 0, max: 2 ** 32 - 1 }), overrides: set };
    const progress = statusLine('training');
    const table = seedsTable();
    const print = (text: string) => void process.stdout.write(text);
    if (!json) print(table.heading);
    const results = await runSeedsBench(options, { progress, measured: (result) => json || print(table.row(result)) });
    print(json ? `${JSON.stringify({ config, results }, null, 2)}\n` : table.summary(results));
  },
};
