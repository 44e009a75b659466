/** Processes of an evaluation that fail before or while they begin. What they compute: test/e2e/evaluationPool.test.ts. */
import { EventEmitter } from 'node:events';
import { expect, it, vi } from 'vitest';
import { PeerError, UserError } from '../../../src/base/errors.ts';
import { EvaluationPool } from '../../../src/run/evaluationPool.ts';

const fork = vi.hoisted(() => vi.fn());
vi.mock('node:child_process', () => ({ fork }));

async function failureOf(child: EventEmitter): Promise<unknown> {
  fork.mockReturnValue(child);
  const pool = new EvaluationPool({
    workers: 1,
    path: 'model',
    engine: { name: 'native' },
    onWarning: (line) => expect.fail(line),
  });
  const part = { kind: 'answers', prompts: [[1]], endTokens: [] } as const;
  const failed = await pool
    .compute([part], () => undefined)
    .next()
    .catch((error: unknown) => error);
  await pool.close();
  return failed;
}

it('one that the system cannot start, because too many files are open, is lost', async () => {
  // As Node leaves it after EMFILE: without a pid, channel or end.
  const child = Object.assign(new EventEmitter(), { pid: undefined, connected: false, kill: () => false });
  setImmediate(() => child.emit('error', new Error('spawn EMFILE')));
  const failure = await failureOf(child);
  expect(failure).toBeInstanceOf(PeerError);
  expect(String(failure)).toContain('a process of the evaluation spawn EMFILE, and no other is left');
});

it.each([
  { isUsersFault: true, kind: UserError },
  { isUsersFault: false, kind: PeerError },
])("a failure is the user's as in one process: $isUsersFault", async ({ isUsersFault, kind }) => {
  const kill = () => {
    child.emit('close', null, 'SIGKILL');
    return true;
  };
  const child = Object.assign(new EventEmitter(), { pid: 7, connected: true, send: () => true, kill });
  setImmediate(() => child.emit('message', { failure: 'model not found', isUsersFault }));
  const failure = await failureOf(child);
  expect(failure).toBeInstanceOf(kind);
  expect(String(failure)).toContain('model not found');
});
