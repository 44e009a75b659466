/** Which workers of a coordinator that was killed may still be there. */
import { mkdtemp, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { processWord } from '../../../src/base/processes.ts';
import type { ConfigInput } from '../../../src/config/configTypes.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { Journal } from '../../../src/records/journal.ts';
import {
  checkWaiting,
  findWaitingWorkers,
  openJournal,
  type ResumePoint,
  reachable,
  returnTimeoutMs,
} from '../../../src/run/resumePoint.ts';
import { RunFolder } from '../../../src/run/runFolder.ts';

let folder: RunFolder;
beforeEach(async () => {
  folder = new RunFolder(await mkdtemp(join(tmpdir(), 'lockstep-resume-')));
});
afterEach(() => rm(folder.path, { recursive: true, force: true }));

const [host, pid] = [hostname(), process.pid];

it.each([
  { of: 'another machine', member: { host: 'elsewhere', pid: 1 }, isWaiting: true },
  { of: 'this machine, alive', member: { host, pid, process: processWord(pid) }, isWaiting: true },
  { of: 'this machine, its pid another process by now', member: { host, pid, process: '01234567' }, isWaiting: false },
  { of: 'this machine, gone', member: { host, pid: 99_999_999, process: '01234567' }, isWaiting: false },
  { of: 'this machine, in a journal of an earlier version', member: { host, pid }, isWaiting: true },
])('a worker of $of: waiting $isWaiting', async ({ member, isWaiting }) => {
  const warnings: string[] = [];
  const journal = Journal.create(folder.journalPath, (message) => warnings.push(message));
  journal.append({ kind: 'run', format: 2, runId: 'r-1', address: 'tcp://127.0.0.1:5555' });
  journal.append({ kind: 'term', term: 1, step: 0, members: [{ worker: 'local-0000', ...member }] });
  await journal.close();
  const point = findWaitingWorkers(folder, 0, {
    note: () => {},
    warn: (message) => warnings.push(message),
    progress: () => () => {},
  });
  expect(point?.resumed.workers).toEqual(isWaiting ? ['local-0000'] : undefined);
  expect(warnings).toEqual([]);
});

it.each<{ key: string; was: ConfigInput; is: ConfigInput; says: string; remedy?: RegExp }>([
  {
    key: 'optimizer.ema',
    was: {},
    is: { optimizer: { ema: 0.99 } },
    says: 'was 0 and is 0.99',
    remedy: /with Ctrl-C, which saves the state, and resume with the change then$/,
  },
  { key: 'optimizer.kind', was: {}, is: { optimizer: { kind: 'muon' } }, says: 'was adamw and is muon' },
  { key: 'optimizer.kind', was: { optimizer: { kind: 'muon' } }, is: {}, says: 'was muon and is adamw' },
  {
    key: 'train.trainable',
    was: {},
    is: { train: { trainable: 'lastBlocks:1' } },
    says: 'was all and is lastBlocks:1',
  },
  { key: 'train.seed', was: {}, is: { train: { seed: 5 } }, says: 'was 1337 and is 5' },
  { key: 'data.tokenizer', was: {}, is: { data: { tokenizer: 'byte' } }, says: 'was char and is byte' },
  { key: 'model.nLayer', was: {}, is: { model: { nLayer: 3 } }, says: 'was 4 and is 3' },
])(
  'refuses another $key while workers wait, which keep their state: $says',
  ({ key, was, is, says, remedy = new RegExp(`Resume without this change: a run keeps its ${key}$`) }) => {
    const point = { resumed: { step: 7, workers: ['local-0000'] } } as unknown as ResumePoint;
    const [before, config] = [configSchema.parse(was), configSchema.parse(is)];
    const change = () => checkWaiting({ config, before }, point);
    expect(change).toThrow(
      `${key} ${says}, but local-0000 may be waiting with the former state, of step 7. Resume without`,
    );
    expect(change).toThrow(remedy);
    for (const same of [config, undefined]) checkWaiting({ config, before: same }, point);
  },
);

it('allows other changes while workers wait', () => {
  const point = { resumed: { step: 7, workers: ['local-0000'] } } as unknown as ResumePoint;
  const config = configSchema.parse({
    model: { dropout: 0.3 },
    schedule: { learningRate: 1e-4 },
    train: { maxSteps: 9 },
  });
  checkWaiting({ config, before: configSchema.parse({}) }, point);
});

const name = 'tcp://train.example:5555';

it.each([
  { was: { address: 'tcp://0.0.0.0:5555' }, is: { address: 'tcp://0.0.0.0:5555' }, finds: true },
  { was: { address: 'tcp://10.7.0.1:5555' }, is: { address: 'tcp://0.0.0.0:5555' }, finds: true },
  { was: { address: 'tcp://[fd07::1]:5555' }, is: { address: 'tcp://[::]:5555' }, finds: true },
  { was: { address: 'tcp://0.0.0.0:5555' }, is: { address: 'tcp://10.7.0.1:5555' }, finds: false },
  { was: { address: 'tcp://10.7.0.1:5555' }, is: { address: 'tcp://10.7.0.9:5555' }, finds: false },
  // The machine has another address, and the same name.
  {
    was: { address: 'tcp://10.7.0.1:5555', advertise: name },
    is: { address: 'tcp://10.7.0.9:5555', advertise: name },
    finds: true,
  },
  // The port is that of the name, or the one that was listened on.
  {
    was: { address: 'tcp://10.7.0.1:5555', advertise: 'tcp://train.example:0' },
    is: { address: 'tcp://10.7.0.9:5555', advertise: name },
    finds: true,
  },
  {
    was: { address: 'tcp://10.7.0.1:5555', advertise: 'tcp://train.example:0' },
    is: { address: 'tcp://10.7.0.9:5556', advertise: 'tcp://train.example:0' },
    finds: false,
  },
  {
    was: { address: 'tcp://10.7.0.1:5555', advertise: name },
    is: { address: 'tcp://10.7.0.9:5555', advertise: 'tcp://other.example:5555' },
    finds: false,
  },
])('workers of a coordinator at $was find one at $is: $finds', async ({ was, is, finds }) => {
  const warnings: string[] = [];
  const messages = { note: () => {}, warn: (message: string) => void warnings.push(message), progress: () => () => {} };
  const found = (at: { address: string; advertise?: string }) => ({ advertise: undefined, ...at });
  const { journal } = openJournal(folder, found(was), { point: undefined, startStep: 0, messages });
  journal.append({ kind: 'term', term: 1, step: 0, members: [{ worker: 'w', host: 'elsewhere', pid: 1 }] });
  await journal.close();
  const point = findWaitingWorkers(folder, 0, messages);
  expect(point?.recovered).toMatchObject(was);
  expect(reachable(point, found(is), messages)).toBe(finds ? point : undefined);
  expect(warnings).toHaveLength(finds ? 0 : 1);
});

const coordinators: { of: string; was: string; is: string; member: { host: string }; finds: boolean }[] = [
  { of: 'this machine', was: '0.0.0.0', is: '0.0.0.0', member: { host }, finds: true },
  { of: 'this machine', was: '0.0.0.0', is: '10.7.0.1', member: { host }, finds: false },
  { of: 'another machine', was: '0.0.0.0', is: '0.0.0.0', member: { host: 'elsewhere' }, finds: false },
  // An address that moved from one machine to the other.
  { of: 'another machine', was: '10.7.0.1', is: '10.7.0.1', member: { host: 'elsewhere' }, finds: true },
  { of: 'another machine', was: '10.7.0.1', is: '10.7.0.9', member: { host: 'elsewhere' }, finds: false },
];

it.each(coordinators)(
  'a local worker of $of whose coordinator listened on $was finds one that listens on $is: $finds; one that joined does',
  async ({ was, is, member, finds }) => {
    const notes: string[] = [];
    const messages = { note: (line: string) => void notes.push(line), warn: expect.fail, progress: () => () => {} };
    const at = (address: string) => ({ address: `tcp://${address}:5555`, advertise: name });
    const { journal } = openJournal(folder, at(was), { point: undefined, startStep: 0, messages });
    const members = [
      { worker: 'local-0000', pid, process: processWord(pid), ...member },
      { worker: 'remote-b-1-0', host: 'b', pid: 1 },
    ];
    journal.append({ kind: 'term', term: 1, step: 0, members });
    await journal.close();
    const point = reachable(findWaitingWorkers(folder, 0, messages), at(is), messages);
    expect(point?.resumed.workers).toEqual([...(finds ? ['local-0000'] : []), 'remote-b-1-0']);
    expect(notes.slice(1)).toEqual(
      finds ? [] : ['local-0000 looked for their coordinator on its former machine: starting others'],
    );
    // The next coordinator learns where this one was.
    await openJournal(folder, at(is), { point, startStep: 0, messages }).journal.close();
    expect(findWaitingWorkers(folder, 0, messages)?.recovered).toEqual({ ...point?.recovered, ...at(is) });
  },
);

it('waits longer for workers that look for a name, which may lead to the former address for some time', () => {
  const config = configSchema.parse({ comm: { joinTimeoutMs: 50_000, rejoinTimeoutMs: 600_000 } });
  expect(returnTimeoutMs(config, name)).toBe(50_000);
  expect(returnTimeoutMs(configSchema.parse({ comm: { rejoinTimeoutMs: 7_000 } }), name)).toBe(7_000);
  expect(
    returnTimeoutMs(configSchema.parse({ comm: { joinTimeoutMs: 600_000, rejoinTimeoutMs: 600_000 } }), name),
  ).toBe(60_000);
  for (const given of [undefined, 'tcp://10.7.0.1:5555', 'tcp://[fd00::1]:5555']) {
    expect(returnTimeoutMs(config, given)).toBeUndefined();
  }
});
