/** `launch serve`: serves a trained model over HTTP with an OpenAI-compatible API, and a page to type in. */
import { basename, dirname } from 'node:path';
import type { ArgumentsCamelCase, CommandModule } from 'yargs';
import { interruptedExitCode } from '../base/errors.ts';
import { type LoadedModel, loadModel } from '../run/loadModel.ts';
import { ModelServer } from '../serve/server.ts';
import { isLoopback } from '../web/listen.ts';
import { type EndCause, endInOrder, insistHint } from './endRequests.ts';
import {
  checkpointChoiceOf,
  checkpointPositional,
  engineOptionsOf,
  type ModelArguments,
  numberOption,
  withModelOptions,
} from './options.ts';
import { print, warn } from './output.ts';
import { goOnWithoutPrinting } from './outputFailures.ts';

interface ServeArguments extends ModelArguments {
  readonly host: string;
  readonly port: number;
  readonly batch: number;
  readonly queue: number;
  readonly 'model-name': string | undefined;
}

/** The time that requests in progress have to finish when the server stops. */
const graceMs = 30_000;

export const serveCommand: CommandModule<object, ServeArguments> = {
  builder: (yargs) =>
    withModelOptions(yargs)
      .positional('checkpoint', checkpointPositional)
      .option('host', {
        type: 'string',
        requiresArg: true,
        default: '127.0.0.1',
        describe: 'Address to listen on; beyond loopback, clients need the printed token',
      })
      .option('port', {
        type: 'number',
        requiresArg: true,
        default: 8000,
        describe: 'Port to listen on; 0: any free one',
      })
      .option('batch', {
        type: 'number',
        requiresArg: true,
        default: 8,
        describe: 'Maximum number of texts generated at once; each needs memory for its key-value cache',
      })
      .option('queue', {
        type: 'number',
        requiresArg: true,
        default: 64,
        describe: 'Maximum number of waiting texts; more get status 429',
      })
      .option('model-name', {
        type: 'string',
        requiresArg: true,
        describe: 'Model name in the API [default: name of the run or checkpoint folder]',
      })
      .example('$0 serve', 'the newest run, at http://127.0.0.1:8000')
      .example('$0 serve runs/quickstart --port 0 --batch 16', 'any free port, up to 16 texts at once'),
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
    if (!isLoopback(args.host)) warn(`${args.host} is unencrypted and open to anyone with the token`);
    print(loaded.description);
    print(`serving ${modelName} ${shown(server)} (Ctrl-C to stop)`);
    await untilEnd(server);
  } finally {
    await loaded.engine.dispose();
  }
}

function shown({ urls: { here, elsewhere }, token }: ModelServer): string {
  const url = elsewhere === undefined ? here : `${here} or, from another machine, ${elsewhere}`;
  return token === undefined ? `at ${url}` : `at ${url}; API clients send Authorization: Bearer ${token}`;
}

/** Serves until a request to end, then finishes the requests in progress. A second request to end aborts them. */
async function untilEnd(server: ModelServer): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const end = (cause: EndCause): void => {
      print(`finishing the requests in progress${insistHint(cause, 'to stop at once')}`);
      process.exitCode = cause === 'SIGTERM' ? 0 : interruptedExitCode;
      void server.close(graceMs).then(resolve, reject);
    };
    endInOrder({ end, endAtOnce: () => void server.close(0).then(resolve, reject) });
  });
}

/** The name of the run that the checkpoint belongs to, otherwise of the checkpoint's folder. */
function nameOf({ checkpoint }: LoadedModel): string {
  const folder = dirname(checkpoint.path);
  return basename(basename(folder) === 'checkpoints' ? dirname(folder) : checkpoint.path);
}
