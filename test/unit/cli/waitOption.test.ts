import { expect, it } from 'vitest';
import { clusterCommand } from '../../../src/cli/cluster.ts';
import { runCommandLine } from '../../../src/cli/commandLine.ts';
import { checkKeyless, joinCommand, waitingLine } from '../../../src/cli/join.ts';
import { type Output, quietOutput, setOutput } from '../../../src/cli/output.ts';

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

it('says at once why it waits, and every ten seconds', () => {
  const lines: string[] = [];
  const former = setOutput({ ...quietOutput, print: (line) => void lines.push(line) } satisfies Output);
  let nowMs = 0;
  const say = waitingLine('tcp://nowhere:5555', 60_000, () => nowMs);
  for (; nowMs < 25_000; nowMs += 250) say(nowMs < 5_000 ? 'the name is unknown' : 'nothing answers');
  setOutput(former);
  expect(lines).toEqual([
    'waiting up to 60 s for tcp://nowhere:5555: the name is unknown',
    'waiting up to 55 s for tcp://nowhere:5555: nothing answers',
    'waiting up to 45 s for tcp://nowhere:5555: nothing answers',
  ]);
});

it('says at once that an address beyond this machine needs a key', async () => {
  await expect(checkKeyless('tcp://127.0.0.1:5555')).resolves.toBeUndefined();
  const needed = /^tcp:\S+ needs the key of its run.*--key.*LOCKSTEP_JOIN_KEY$/;
  await expect(checkKeyless('tcp://192.0.2.1:5555')).rejects.toThrow(needed);
  const unknownName = () => Promise.reject(new Error('the host is not known'));
  await expect(checkKeyless('tcp://run-0:5555', unknownName)).rejects.toThrow(needed);
  await expect(checkKeyless('tcp://run-0:5555', unknownName)).rejects.toThrow('its name is not known here');
  await expect(checkKeyless('tcp://[::ffff:127.0.0.1]:5555')).resolves.toBeUndefined();
  for (const host of ['0.0.0.0', '[::]', '*']) {
    await expect(checkKeyless(`tcp://${host}:5555`)).rejects.toThrow(
      /one machine, received .* tcp:\/\/127\.0\.0\.1:5555 for/,
    );
  }
  await expect(checkKeyless('192.0.2.1')).rejects.toThrow('expected an address like');
});

it('join accepts --plain as launch does', async () => {
  await expect(runCommandLine(['join', '192.0.2.1', '--plain'], '0')).rejects.toThrow('expected an address like');
});
