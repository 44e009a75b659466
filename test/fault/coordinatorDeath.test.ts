/** Workers whose coordinator is gone end by themselves, those of other machines too; whoever leaves a run ends it. */
import { expect, it } from 'vitest';
import { set, start, tiny, useFolder } from '../e2e/launch.ts';

const folder = useFolder();

/** A run of one own worker and one that has joined from another process, some steps old. */
async function joinedRun(runDir: string) {
  const args = ['--listen', 'tcp://127.0.0.1:0', '--workers', '1', '--min-workers', '2', '--run-dir', runDir];
  const running = start([...args, ...set(...tiny, 'train.maxSteps=1000000')], folder());
  const [, ...join] = await running.printed(/launch (join) (\S+) (--key) (\S+)/);
  const joined = start(join, folder());
  await running.printed(/step +3\//);
  return { running, joined };
}

it('a coordinator that is killed: every worker ends, and `launch join` says why', async () => {
  const { running, joined } = await joinedRun('killed');
  running.process.kill('SIGKILL');
  const result = await joined.finished;
  expect(result.code).toBe(1);
  expect(result.stderr).toMatch(/the worker failed: lost the coordinator|the worker failed: rank \d .* is gone/);
  expect(await joined.descendants()).toEqual([]);
  await running.finished;
  while ((await running.descendants()).length > 0) await new Promise((resolve) => setTimeout(resolve, 20));
});

it('Ctrl-C on `launch join` takes its workers along, and the run ends with their names', async () => {
  const { running, joined } = await joinedRun('left');
  joined.process.kill('SIGINT');
  expect(await joined.finished).toMatchObject({ code: 130, stderr: '' });
  expect(await joined.descendants()).toEqual([]);
  const result = await running.finished;
  expect(result.code).toBe(1);
  expect(result.stderr).toMatch(/launch: rank 1 \(pid \d+ on .+\) is gone/);
  expect(await running.descendants()).toEqual([]);
});
