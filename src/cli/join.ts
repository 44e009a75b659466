/** `launch join`: adds workers of this machine to a run that another machine (or process) coordinates. */
import { availableParallelism, hostname } from 'node:os';
import type { CommandModule } from 'yargs';
import { PeerError, UserError } from '../base/errors.ts';
import { forkWorkers, type WorkerExit } from '../worker/spawn.ts';
import { print } from './progress.ts';

interface JoinArguments {
  address: string;
  workers: number;
}

export const joinCommand: CommandModule<object, JoinArguments> = {
  command: 'join <address>',
  describe: 'Add workers to a run that listens elsewhere',
  builder: (yargs) =>
    yargs
      .positional('address', { type: 'string', demandOption: true, describe: 'tcp://HOST:PORT that `launch` printed' })
      .option('workers', { alias: 'w', type: 'number', default: 1, describe: 'Worker processes on this machine' })
      .example('$0 join tcp://192.168.1.10:5555 --workers 2', 'two workers for the run on that machine'),
  handler: async ({ address, workers: count }) => {
    const host = hostname()
      .replace(/[^A-Za-z0-9._-]/g, '-')
      .slice(0, 32);
    const failures: WorkerExit[] = [];
    const workers = forkWorkers({
      ids: Array.from({ length: count }, (_, i) => `remote-${host}-${process.pid}-${i}`),
      coordinatorAddress: address,
      cores: availableParallelism(),
      onExit: (exit) => {
        if (!exit.clean) failures.push(exit);
      },
    });
    const onSignal = () => void workers.stop(0);
    process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
    print(`${count} worker${count === 1 ? '' : 's'} joining ${address}`);
    await workers.ended;
    const [failure] = failures;
    if (failure?.blame === 'user') throw new UserError(`the worker ${failure.description}`);
    if (failure !== undefined) throw new PeerError(`the worker ${failure.description}`);
    print('the run is over');
  },
};
