import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { PeerError } from '../../../src/base/errors.ts';
import { EventsLog, type LoggedEvent } from '../../../src/records/eventsLog.ts';
import { temporaryFolder } from '../checkpoint/tinyCheckpoint.ts';

const clock = { now: () => 0, monotonic: () => 0, after: () => () => undefined, every: () => () => undefined };
const newPath = (): string => join(temporaryFolder(), 'events.jsonl');
const noWarning = (message: string): never => expect.fail(message);

async function linesOf(path: string): Promise<unknown[]> {
  const text = await readFile(path, 'utf8');
  expect(text.endsWith('\n')).toBe(true);
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

const joined: LoggedEvent = { event: 'join', reason: 'w1 joined (2 of 2)', term: 0, step: 0, worker: 'w1' };
const lost: LoggedEvent = {
  event: 'lost',
  reason: 'rank 1 (pid 7 on host) is gone',
  term: 1,
  step: 5,
  rank: 1,
  worker: 'w1',
  phase: 'all-reduce',
  cause: 'killed by SIGKILL',
  action: 'the others continue without it',
};

it('writes what happened, with its time', async () => {
  const path = newPath();
  const log = await EventsLog.open(path, noWarning, clock);
  log.append(joined);
  log.append(lost);
  await log.flush();
  const time = '1970-01-01T00:00:00.000Z';
  expect(await linesOf(path)).toEqual([
    { time, ...joined },
    { time, ...lost },
  ]);
});

it('continues where another coordinator stopped, without the line that it left torn', async () => {
  const path = newPath();
  for (const torn of ['', '{"time":"2026', 'x'.repeat(5_000)]) {
    const log = await EventsLog.open(path, noWarning, clock);
    log.append(joined);
    await log.flush();
    await appendFile(path, torn);
  }
  const log = await EventsLog.open(path, noWarning, clock);
  log.append(lost);
  await log.flush();
  expect(await linesOf(path)).toMatchObject([joined, joined, joined, lost]);
  await writeFile(path, 'no line at all');
  await EventsLog.open(path, noWarning, clock);
  expect(await readFile(path, 'utf8')).toBe('');
});

it('cuts what a stranger made long', async () => {
  const path = newPath();
  const log = await EventsLog.open(path, noWarning, clock);
  log.append({ ...joined, event: 'refused', reason: 'x'.repeat(1_000_000) });
  await log.flush();
  expect((await readFile(path, 'utf8')).length).toBeLessThan(5_000);
});

it('stops the start where it cannot write', async () => {
  const path = newPath();
  await mkdir(path);
  await expect(EventsLog.open(path, noWarning)).rejects.toThrow(PeerError);
  await expect(EventsLog.open(path, noWarning)).rejects.toThrow(
    /cannot open .*events\.jsonl: it is a folder, not a file \(EISDIR\)/,
  );
});
