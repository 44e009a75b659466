/** The developers' benches: `npm run bench -- NAME`. Those for users are in src/bench, behind `launch bench`. */
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { exitCodeOf, UserError } from '../src/base/errors.ts';
import { errorText } from '../src/cli/output.ts';
import { benchClassifyCommand } from './classify/command.ts';
import { benchCurveCommand } from './curve/command.ts';
import { benchDecisionsCommand } from './decisions/command.ts';
import { benchEngineCommand } from './engine/command.ts';
import { benchObjectStoreCommand } from './objectStore/command.ts';
import { benchPictureCommand } from './picture/command.ts';
import { benchProtocolCommand } from './protocol/command.ts';
import { benchSeedsCommand } from './seeds/command.ts';
import { benchTokenizerCommand } from './tokenizer/command.ts';
import { benchTrainingCommand } from './training/command.ts';
import { benchTranslateCommand } from './translate/command.ts';

const debug = process.argv.includes('--debug');
try {
  await yargs(hideBin(process.argv))
    .scriptName('npm run bench --')
    .command(benchEngineCommand)
    .command(benchTrainingCommand)
    .command(benchSeedsCommand)
    .command(benchClassifyCommand)
    .command(benchTranslateCommand)
    .command(benchCurveCommand)
    .command(benchTokenizerCommand)
    .command(benchProtocolCommand)
    .command(benchDecisionsCommand)
    .command(benchObjectStoreCommand)
    .command(benchPictureCommand)
    .demandCommand(1, 'Name what to measure.')
    .option('debug', { type: 'boolean', global: true, describe: 'Print stack traces and causes with errors' })
    .version(false)
    .strict()
    .wrap(Math.min(120, process.stdout.columns ?? 100))
    .fail((message, error) => {
      // yargs' own complaints come with a message alone, or as a YError; all others are thrown by a bench.
      if (error !== undefined && error.name !== 'YError') throw error;
      throw new UserError(`${message ?? error?.message}\nSee npm run bench -- --help.`);
    })
    .parseAsync();
} catch (error) {
  process.stderr.write(`bench: ${errorText(error, debug)}\n`);
  process.exitCode = exitCodeOf(error);
}
