/** Workers whose coordinator is gone and does not come back end by themselves, those of other machines too. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { set, start, tiny, useFolder } from '../e2e/launch.ts';

const folder = useFolder();

/** A run of one own worker and one that has joined from another process, some steps old. */
async function joinedRun(runDir: string) {
  const args = ['--listen', 'tcp://127.0.0.1:0', '--workers', '1', '--min-workers', '1', '--run-dir', runDir];
  const running = start([...args, ...set(...tiny, 'train.maxSteps=1000000', 'comm.rejoinTimeoutMs=1000')], folder());
  const [, ...joinArguments] = await running.printed(/launch (join) (\S+) (--key) ([^\s)]+)/);
  const joined = start([...joinArguments, '--wait', '0'], folder());
  await running.printed(/2 workers ready.*\n(?:.*\n)*?step/);
  return { running, joined };
}

it('a coordinator that is killed: every worker ends, and `launch join` says why', async () => {
  const { running, joined } = await joinedRun('killed');
  running.process.kill('SIGKILL');
  const result = await joined.finished;
  expect(result.code).toBe(1);
  expect(result.stderr).toMatch(/the worker failed: lost the coordinator: its connection is lost.*\. The last attempt/);
  expect(result.stderr).toMatch(/^It was not started again: nobody answers at tcp:/m);
  expect(await joined.descendants()).toEqual([]);
  const [, flight = ''] = /its last actions are in (\S+)/.exec(result.stderr) ?? [];
  expect(await readFile(join(folder(), flight), 'utf8')).toMatch(/"what":"reconnecting".*its connection is lost/);
  await running.finished;
  while ((await running.descendants()).length > 0) await new Promise((resolve) => setTimeout(resolve, 20));
});

it('Ctrl-C on `launch join` takes its workers along, at a step boundary, and the run continues without them', async () => {
  const { running, joined } = await joinedRun('left');
  joined.process.kill('SIGINT');
  expect(await joined.finished).toMatchObject({ code: 130, stderr: '' });
  expect(await joined.descendants()).toEqual([]);
  const [, step] = await running.printed(/2 workers ready(?:.*\n)*1 worker ready.*\n(?:.*\n)*?step +(\d+)/);
  expect(Number(step)).toBeGreaterThan(3);
  running.process.kill('SIGINT');
  expect((await running.finished).code).toBe(130);
  expect(await running.descendants()).toEqual([]);
  // Nothing ended badly.
  expect(existsSync(join(folder(), 'left', 'flight'))).toBe(false);
});

it('Ctrl-C twice ends `launch join` at once, though its coordinator does not answer, and `launch` without a word of bugs', async () => {
  const { running, joined } = await joinedRun('twice');
  running.process.kill('SIGSTOP');
  joined.process.kill('SIGINT');
  await joined.printed(/again to leave at once/);
  joined.process.kill('SIGINT');
  expect(await joined.finished).toMatchObject({ code: 130, stderr: '' });
  expect(await joined.descendants()).toEqual([]);
  running.process.kill('SIGCONT');
  running.process.kill('SIGINT');
  await running.printed(/again to stop at once/);
  running.process.kill('SIGINT');
  const result = await running.finished;
  expect(result.code).toBe(130);
  expect(result.stderr).not.toMatch(/Error|flight|started again/);
  expect(await running.descendants()).toEqual([]);
});
