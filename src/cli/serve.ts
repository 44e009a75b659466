/** `launch serve`: a trained model behind HTTP, as OpenAI's clients expect it, and a page to type in. */
import { basename, dirname } from 'node:path';
import type { ArgumentsCamelCase, CommandModule } from 'yargs';
import { interruptedExitCode } from '../base/errors.ts';
import { type LoadedModel, loadModel } from '../run/loadModel.ts';
import { ModelServer } from '../serve/server.ts';
import { isLoopback } from '../web/listen.ts';
import { type EndCause, endInOrder } from './endRequests.ts';
import { checkpointChoiceOf, engineOptionsOf, type ModelArguments, numberOption, withModelOptions } from './options.ts';
import { print, warn } from './output.ts';
import { goOnWithoutPrinting } from './outputFailures.ts';

interface ServeArguments extends ModelArguments {
  readonly host: string;
  readonly port: number;
  readonly batch: number;
  readonly queue: number;
  readonly 'model-name': string | undefined;
}

/** How long requests that are under way may take when the server is asked to end. */
const graceMs = 30_000;

export const serveCommand: CommandModule<object, ServeArguments> = {
  builder: (yargs) =>
    withModelOptions(yargs)
      .positional('checkpoint', {
        type: 'string',
        describe:
          'As --checkpoint: a checkpoint, a run directory or a folder of GPT-2 weights [default: the newest run]',
      })
      .option('host', {
        type: 'string',
        requiresArg: true,
        default: '127.0.0.1',
        describe: 'Address to listen on; others than loopback need the token that is printed',
      })
      .option('port', { type: 'number', requiresArg: true, default: 8000, describe: '0: any' })
      .option('batch', {
        type: 'number',
        requiresArg: true,
        default: 8,
        describe: 'Texts that are continued at once; each takes memory for its keys and values',
      })
      .option('queue', {
        type: 'number',
        requiresArg: true,
        default: 64,
        describe: 'Texts that may wait besides; more are refused with status 429',
      })
      .option('model-name', {
        type: 'string',
        requiresArg: true,
        describe: "What clients call the model [default: the name of the run's or the checkpoint's folder]",
      })
      .example('$0 serve', 'the newest run, at http://127.0.0.1:8000')
      .example('$0 serve runs/quickstart --port 0 --batch 16', 'on any free port, 16 texts at once'),
  handler: run,
};

async function run(args: ArgumentsCamelCase<ServeArguments>): Promise<void> {
  goOnWithoutPrinting();
  const engine = engineOptionsOf(args);
  const port = numberOption('port', args.port, { min: 0, max: 65_535, whole: true });
  const batchMax = numberOption('batch', args.batch, { min: 1, max: 256, whole: true });
  const queueMax = numberOption('queue', args.queue, { min: 0, max: 65_536, whole: true });
  const loaded = await loadModel({ ...checkpointChoiceOf(args, warn), engine });
  try {
    const modelName = args.modelName ?? nameOf(loaded);
    const server = await ModelServer.open(loaded, {
      host: args.host,
      port,
      batchMax,
      queueMax,
      modelName,
      onWarning: warn,
    });
    if (!isLoopback(args.host)) warn(`${args.host} is reached unencrypted, by whoever has the token`);
    print(loaded.description);
    print(`serving ${modelName} ${shown(server)} (Ctrl-C ends it)`);
    await untilEnd(server);
  } finally {
    await loaded.engine.dispose();
  }
}

function shown({ urls: { here, elsewhere }, token }: ModelServer): string {
  const url = elsewhere === undefined ? here : `${here} or, on another machine, ${elsewhere}`;
  return token === undefined ? `at ${url}` : `at ${url}; programs send Authorization: Bearer ${token}`;
}

/** Serves until it is asked to end, then ends the requests that are under way; a second time cuts them off. */
async function untilEnd(server: ModelServer): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const end = (cause: EndCause): void => {
      print('ending after the requests that are under way; once more to end at once');
      process.exitCode = cause === 'SIGTERM' ? 0 : interruptedExitCode;
      void server.close(graceMs).then(resolve, reject);
    };
    endInOrder({ end, endAtOnce: () => void server.close(0).then(resolve, reject) });
  });
}

/** The run's, of which the checkpoint is a step; else the checkpoint's folder. */
function nameOf({ checkpoint }: LoadedModel): string {
  const folder = dirname(checkpoint.path);
  return basename(basename(folder) === 'checkpoints' ? dirname(folder) : checkpoint.path);
}
