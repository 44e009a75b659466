/** `npm run bench -- objectStore`: what it costs to keep checkpoints and data in an object store instead of on the disk. */
import { randomBytes } from 'node:crypto';
import type { CommandModule } from 'yargs';
import { UserError } from '../../src/base/errors.ts';
import { inFolder, isObjectPath } from '../../src/base/objectPath.ts';
import { numberOption } from '../../src/cli/options.ts';
import { warn } from '../../src/cli/output.ts';
import {
  checkpointSum,
  renderCheckpointHead,
  renderCheckpointRow,
  renderCheckpointSum,
  runCheckpointBench,
} from './checkpointBench.ts';
import { renderDataWaitHead, renderDataWaitRow, runDataWaitBench } from './dataWaitBench.ts';

interface BenchObjectStoreArguments {
  readonly place: string;
  readonly 'state-mb': number;
  readonly pairs: number;
  readonly steps: number;
  readonly 'data-mb': number;
  readonly rounds: number;
  readonly json: boolean;
}

export const benchObjectStoreCommand: CommandModule<unknown, BenchObjectStoreArguments> = {
  command: 'objectStore <place>',
  describe: 'Time checkpoints to an object store, and the wait for samples from it, beside the disk',
  builder: (yargs) =>
    yargs
      .positional('place', {
        type: 'string',
        demandOption: true,
        describe: 's3://BUCKET/PREFIX for the objects, which are removed; keys and endpoint from the environment',
      })
      .option('state-mb', { type: 'number', default: 1500, describe: 'Size of a checkpoint in MB' })
      .option('pairs', { type: 'number', default: 3, describe: 'Checkpoints to each place; 0: none' })
      .option('steps', { type: 'number', default: 300, describe: 'Steps of a run' })
      .option('data-mb', { type: 'number', default: 256, describe: 'Size of the prepared data in MB' })
      .option('rounds', { type: 'number', default: 3, describe: 'Runs on each kind of data; 0: none' })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('npm run bench -- objectStore s3://my-bucket/bench', 'about three minutes with a store on this machine')
      .example('npm run bench -- objectStore s3://my-bucket/bench --pairs 0', 'only the wait for samples'),
  handler: async ({ place, 'state-mb': stateMb, pairs, steps, 'data-mb': dataMb, rounds, json }) => {
    if (!isObjectPath(place)) throw new UserError(`${place}: expected s3://BUCKET/PREFIX`);
    numberOption('state-mb', stateMb, { min: 1, max: 1e6, whole: true });
    numberOption('pairs', pairs, { min: 0, max: 1_000, whole: true });
    numberOption('steps', steps, { min: 2, max: 1e6, whole: true });
    numberOption('data-mb', dataMb, { min: 1, max: 1e5, whole: true });
    numberOption('rounds', rounds, { min: 0, max: 1_000, whole: true });
    const prefix = inFolder(place, `lockstep-bench-${randomBytes(6).toString('hex')}`);
    const print = (text: string) => void (json || process.stdout.write(text));
    const bytes = 1e6 * stateMb;
    if (pairs > 0) print(renderCheckpointHead({ bytes }));
    const checkpoints = await runCheckpointBench({
      ...{ prefix, bytes, pairs },
      onRow: (row) => print(renderCheckpointRow(row)),
    });
    if (pairs > 0) print(renderCheckpointSum(checkpoints));
    if (rounds > 0) print(renderDataWaitHead({ steps }));
    const waits =
      rounds === 0
        ? []
        : await runDataWaitBench({
            ...{ prefix, steps, rounds, tokens: 5e5 * dataMb, onWarning: warn },
            onRow: (row) => print(renderDataWaitRow(row)),
          });
    const sum = pairs > 0 ? checkpointSum(checkpoints) : {};
    if (json) process.stdout.write(`${JSON.stringify({ checkpoints, ...sum, waits }, null, 2)}\n`);
  },
};
