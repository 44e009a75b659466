/** `launch cluster` without a launcher: two nodes that are processes of this machine. `test/cluster` has a real one. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { freePort } from '../fixtures/freePort.ts';
import { lossesOf, set, start, tiny, useFolder } from './launch.ts';

const folder = useFolder();

/** Starts a node of a job of two, in a run directory. */
async function nodesOf(runDir: string, maxSteps: number) {
  const address = `127.0.0.1:${await freePort()}`;
  return (rank: number) => {
    const place = { LOCKSTEP_NODE_RANK: String(rank), LOCKSTEP_NODES: '2', LOCKSTEP_COORDINATOR: address };
    return start(['cluster', '--run-dir', runDir, ...set(...tiny, `train.maxSteps=${maxSteps}`)], folder(), place);
  };
}

it('is signalled: 85 on both nodes, and the same words continue; 0 at the end', async () => {
  const maxSteps = 400;
  const node = await nodesOf('run', maxSteps);
  const again = join(folder(), 'run', 'again');

  // The other node may come first.
  const early = [node(1), node(0)];
  await early[1]!.printed(/step +2\//);
  early[1]!.process.kill('SIGUSR1');
  const [other, first] = await Promise.all(early.map(({ finished }) => finished));
  expect(first, first!.stderr).toMatchObject({ code: 85 });
  expect(first!.stdout).toMatch(/node 0 of 2 \(LOCKSTEP\): 1 worker on \d+ cores?/);
  expect(first!.stdout).toMatch(/stopped at step \d+ of 400; the same command continues/);
  expect(other, other!.stderr).toMatchObject({ code: 85 });
  expect(existsSync(again)).toBe(true);
  const steps = (await lossesOf(join(folder(), 'run'))).length;
  expect(steps).toBeLessThan(maxSteps);

  const late = await Promise.all([node(0), node(1)].map(({ finished }) => finished));
  expect(late).toMatchObject([{ code: 0 }, { code: 0 }]);
  expect(late[0]!.stdout).toContain(`(step ${steps})`);
  expect(existsSync(again)).toBe(false);
  expect(await lossesOf(join(folder(), 'run'))).toHaveLength(maxSteps);
  for (const running of early) expect(await running.descendants()).toEqual([]);
});

it('refuses a node that is started twice, and ends with 130 on both nodes after Ctrl-C on node 0', async () => {
  const node = await nodesOf('interrupted', 100_000);
  const [first, other] = [node(0), node(1)];
  await first.printed(/waiting at tcp:\/\/127\.0\.0\.1:\d+ for 1 worker of the other nodes/);
  await first.printed(/step +2\//);
  const twice = await node(1).finished;
  // The same words are right elsewhere: not 2, after which a job is given up.
  expect(twice).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/node 1 of the job is in the run already, as pid/),
  });
  first.process.kill('SIGINT');
  const ends = await Promise.all([first.finished, other.finished]);
  expect(ends).toMatchObject([{ code: 130 }, { code: 130 }]);
  expect(ends[1]!.stdout).toContain('the run was ended before its last step');
});
