import { expect, it } from 'vitest';
import { clusterCommand } from '../../../src/cli/cluster.ts';
import { joinCommand } from '../../../src/cli/join.ts';

it.each([
  ['cluster', clusterCommand],
  ['join', joinCommand],
])('%s waits for a day at most', async (_, command) => {
  const args = {
    workers: 1,
    maxRestarts: 0,
    'max-restarts': 0,
    runDir: 'none',
    address: 'tcp://127.0.0.1:1',
    key: 'none.key',
  };
  const run = async (wait: number) => command.handler({ ...args, wait, nodeRank: 3, nodes: 2, quiet: true } as never);
  await expect(run(86_401)).rejects.toThrow(/wait.*86400/);
  // The next thing that is wrong: the rank, or the key.
  await expect(run(86_400)).rejects.toThrow(/node rank 3|none.key/);
});
