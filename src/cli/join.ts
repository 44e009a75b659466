/** `launch join`: adds workers of this machine to a run that another machine (or process) coordinates. */
import { availableParallelism, hostname } from 'node:os';
import type { CommandModule } from 'yargs';
import { PeerError } from '../base/errors.ts';
import { forkWorkers } from '../worker/spawn.ts';
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
    const failures: string[] = [];
    const workers = forkWorkers({
      ids: Array.from({ length: count }, (_, i) => `remote-${host}-${process.pid}-${i}`),
      coordinatorAddress: address,
      cores: availableParallelism(),
      onExit: (_id, description) => {
        if (description !== 'exited with code 0') failures.push(description);
      },
    });
    const onSignal = () => void workers.stop(0);
    process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
    print(`${count} worker${count === 1 ? '' : 's'} joining ${address}`);
    await workers.ended;
    if (failures.length > 0) throw new PeerError(`the worker ${failures[0]}`);
    print('the run is over');
  },
};
