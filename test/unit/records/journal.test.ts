/** The journal: what was appended comes back, and whatever happens to the file, nothing else ever does. */
import { appendFileSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { InvariantError, PeerError } from '../../../src/base/errors.ts';
import { Journal } from '../../../src/records/journal.ts';
import {
  commitsKept,
  compacted,
  follow,
  type JournalHistory,
  type JournalRecord,
  type Recovered,
  recoveredFrom,
} from '../../../src/records/journalRecords.ts';
import { temporaryFolder } from '../checkpoint/tinyCheckpoint.ts';
import { commit, expectedAfter, intercepted, isRecovery, quickDisk, rollouts, run, term } from './journalFixtures.ts';

const noWarning = (message: string): never => expect.fail(message);
const otherRun: JournalRecord = { kind: 'run', format: 2, runId: 'r-2', address: 'tcp://10.0.0.1:1' };
const newPath = (): string => join(temporaryFolder(), 'journal.jsonl');

/** A journal of these records, closed. */
async function written(path: string, records: readonly JournalRecord[]): Promise<void> {
  const journal = Journal.create(path, noWarning, { disk: quickDisk });
  for (const record of records) journal.append(record);
  await journal.close();
}

/** What the next coordinator finds, with what it is warned of. */
function reopened(path: string): { recovered: Recovered | undefined; warnings: string[] } {
  const warnings: string[] = [];
  const { recovered } = Journal.open(path, (message) => warnings.push(message));
  return { recovered, warnings };
}

const someSteps = [run, term(1, 0), commit(1), commit(2), term(2, 2, 3), commit(3, 2)];

describe('what comes back', () => {
  test.each<[string, readonly JournalRecord[]]>([
    ['of a run that gathers its workers', [run]],
    ['of steps and memberships', someSteps],
    ['after a rewind', [...someSteps, { kind: 'rewind', step: 1 }]],
    ['of the term after a rewind', [...someSteps, { kind: 'rewind', step: 1 }, term(3, 1, 1), commit(2, 3)]],
    ['of a run that begins at a checkpoint', [run, { kind: 'rewind', step: 50 }, term(1, 50), commit(51)]],
    ['where workers proved later steps', [...someSteps, term(5, 4), commit(5, 5)]],
    ['of a run that writes its samples', [run, term(1, 0), rollouts(0), commit(1), commit(2), rollouts(2), commit(3)]],
    ['of rollouts before a membership', [...someSteps, rollouts(3), term(3, 3), commit(4, 3)]],
    ['of rollouts at a step that workers proved', [...someSteps, term(5, 4), rollouts(4), commit(5, 5)]],
    ['of rollouts that a rewind made void', [...someSteps, rollouts(3), { kind: 'rewind', step: 3 }, term(3, 3)]],
    ['of rollouts recorded again', [...someSteps, rollouts(3), { kind: 'rewind', step: 3 }, rollouts(2), term(3, 3)]],
    ['of rollouts that a rewind left', [...someSteps, rollouts(3), commit(4, 2), { kind: 'rewind', step: 4 }]],
    ['of a loss that is not a number', [run, term(1, 0), { ...commit(1), loss: Number.NaN, gradNorm: Number.NaN }]],
  ])('%s', async (_, records) => {
    const path = newPath();
    await written(path, records);
    expect(reopened(path)).toEqual({ recovered: expectedAfter(records), warnings: [] });
  });

  test('the samples before a term, and the batch size of its steps, also from a journal that was rewritten', () => {
    const counts = { samples: 40, globalBatchSize: 6 };
    const recovered = (records: readonly JournalRecord[]) => {
      let history: JournalHistory | undefined;
      for (const record of records) history = follow(history, record);
      let rewritten: JournalHistory | undefined;
      for (const record of compacted(history!)) rewritten = follow(rewritten, record);
      expect(recoveredFrom(rewritten)).toEqual(recoveredFrom(history));
      return recoveredFrom(history);
    };
    // Workers had proved step 4, whose commit a power failure had taken.
    expect(recovered([...someSteps, { ...term(5, 4), ...counts }])).toMatchObject(counts);
    expect(recovered([...someSteps, { ...term(5, 4), ...counts }, { ...commit(5, 5), samples: 46 }])).toMatchObject({
      ...{ samples: 46, globalBatchSize: 6 },
    });
    const rewound = recovered([...someSteps, { ...term(5, 4), ...counts }, { kind: 'rewind', step: 1 }]);
    expect(rewound).toMatchObject({ samples: undefined, globalBatchSize: 6 });
  });

  test('nothing where there is no journal, or the run has ended; then another run begins', async () => {
    const path = newPath();
    expect(reopened(path)).toEqual({ recovered: undefined, warnings: [] });
    await written(path, [...someSteps, { kind: 'ended', step: 3 }]);
    const { journal, recovered } = Journal.open(path, noWarning, { disk: quickDisk });
    expect(recovered).toBeUndefined();
    journal.append(otherRun);
    expect(reopened(path).recovered).toEqual(expectedAfter([otherRun]));
    await journal.close();
  });

  test('a recovered journal continues, any number of times', async () => {
    const path = newPath();
    await written(path, someSteps);
    const later: JournalRecord[] = [term(3, 3), commit(4, 3), term(4, 4)];
    for (const [i, record] of later.entries()) {
      const { journal } = Journal.open(path, noWarning, { disk: quickDisk });
      journal.append(record);
      await journal.close();
      expect(reopened(path).recovered).toEqual(expectedAfter([...someSteps, ...later.slice(0, i + 1)]));
    }
  });

  test('a journal that starts afresh leaves the old one until its first record is written', async () => {
    const path = newPath();
    await written(path, someSteps);
    const journal = Journal.create(path, noWarning);
    expect(reopened(path).recovered).toEqual(expectedAfter(someSteps));
    journal.append(otherRun);
    expect(reopened(path).recovered?.runId).toBe('r-2');
    await journal.close();
  });

  test('each line is one JSON object', async () => {
    const path = newPath();
    await written(path, someSteps);
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual(
      someSteps.map((record) => ({ crc: expect.stringMatching(/^[0-9a-f]{8}$/), ...record })),
    );
  });

  test.each<[string, readonly JournalRecord[], string]>([
    ['before the run', [term(1, 0)], 'one run'],
    ['of a second run', [run, run], 'one run'],
    ['after the end', [run, { kind: 'ended', step: 0 }, commit(1)], 'commit after the end'],
    ['of a term again', [...someSteps, term(2, 3)], 'term 2 after term 2'],
    ['that goes back without a rewind', [...someSteps, term(3, 2)], 'term 3 at step 2 after step 3'],
    ['that leaves a step out', [...someSteps, commit(5, 2)], 'a commit of step 5 in term 2 after step 3 in term 2'],
    ['of rollouts at a later step', [...someSteps, rollouts(4)], 'rollouts made at step 4 after step 3'],
    ['of another term', [...someSteps, commit(4, 1)], 'a commit of step 4 in term 1 after step 3 in term 2'],
  ])('a record %s is an InvariantError', async (_, records, message) => {
    const journal = Journal.create(newPath(), noWarning, { disk: quickDisk });
    for (const record of records.slice(0, -1)) journal.append(record);
    expect(() => journal.append(records.at(-1)!)).toThrow(InvariantError);
    expect(() => journal.append(records.at(-1)!)).toThrow(message);
    await journal.close();
    expect(() => journal.append(run)).toThrow('it is closed');
  });
});

describe('a file that is not as it was written', () => {
  test.each<[string, JournalRecord]>([
    ['a commit', commit(4, 2)],
    ['a rewind', { kind: 'rewind', step: 1 }],
    ['a term', term(3, 3, 3)],
  ])('%s torn at every byte is ignored, and the journal continues', async (_, last) => {
    const path = newPath();
    await written(path, someSteps);
    const from = statSync(path).size;
    await written(path, [...someSteps, last]);
    const whole = readFileSync(path);
    for (let bytes = from; bytes < whole.length; bytes++) {
      writeFileSync(path, whole.subarray(0, bytes));
      // Only its newline is missing: the record is complete.
      const there = bytes === whole.length - 1 ? [...someSteps, last] : someSteps;
      expect(reopened(path), `${bytes} bytes`).toEqual({ recovered: expectedAfter(there), warnings: [] });
      const { journal } = Journal.open(path, noWarning, { disk: quickDisk });
      const next = term(9, 7);
      journal.append(next);
      await journal.close();
      const after = reopened(path);
      expect(after.warnings, `${bytes} bytes`).toEqual([]);
      expect(isRecovery(after.recovered!, expectedAfter([...there, next])), `${bytes} bytes`).toBe(true);
    }
  });

  test('every byte of it, changed: all of it comes back or nothing, with a warning', async () => {
    const path = newPath();
    await written(path, [...someSteps, { kind: 'rewind', step: 1 }]);
    const whole = readFileSync(path);
    const { recovered: expected } = reopened(path);
    for (let at = 0; at < whole.length; at++) {
      for (const mask of [0x01, 0x08, 0x20, 0x80, 0xff, whole[at]! ^ 0x0a, whole[at]!]) {
        if (mask === 0) continue;
        const changed = Buffer.from(whole);
        changed[at]! ^= mask;
        writeFileSync(path, changed);
        const { recovered, warnings } = reopened(path);
        const message = `byte ${at} ^ ${mask}`;
        if (recovered === undefined) expect(warnings, message).toEqual([expect.stringMatching(/damaged.*line \d/)]);
        else expect({ recovered, warnings }, message).toEqual({ recovered: expected, warnings: [] });
      }
    }
  }, 120_000);

  test('a line that is missing, doubled or moved', async () => {
    const path = newPath();
    await written(path, someSteps);
    const lines = readFileSync(path, 'utf8').split(/(?<=\n)/);
    const changes = lines.flatMap((line, i) => [
      ...(i < lines.length - 1 ? [lines.toSpliced(i, 1), lines.toSpliced(i, 2, lines[i + 1]!, line)] : []),
      lines.toSpliced(i, 0, line),
    ]);
    for (const changed of changes) {
      writeFileSync(path, changed.join(''));
      expect(reopened(path)).toEqual({ recovered: undefined, warnings: [expect.stringContaining('damaged')] });
    }
  });

  test('a run whose journal is damaged begins another one in its place', async () => {
    const path = newPath();
    writeFileSync(path, 'no journal\nat all\n');
    const warnings: string[] = [];
    const { journal } = Journal.open(path, (message) => warnings.push(message), { disk: quickDisk });
    expect(warnings).toEqual([
      `${path} is damaged and not used: line 1: expected a record that begins with its checksum. ` +
        'The run can be resumed from a checkpoint.',
    ]);
    for (const record of someSteps) journal.append(record);
    await journal.close();
    expect(reopened(path).recovered).toEqual(expectedAfter(someSteps));
  });

  test('of a later version, too long or too large: not used, and said why', async () => {
    const path = newPath();
    await written(path, [{ ...run, format: 3 } as unknown as JournalRecord]);
    expect(reopened(path).warnings).toEqual([
      expect.stringContaining('this version of Lockstep reads formats 1 and 2'),
    ]);
    await written(path, [run]);
    appendFileSync(path, `${'x'.repeat(2 ** 20 + 1)}\n`);
    expect(reopened(path).warnings).toEqual([expect.stringContaining('line 2: expected at most 1048576 bytes')]);
    truncateSync(path, 2 ** 27 + 1);
    expect(reopened(path).warnings).toEqual([expect.stringContaining('expected at most 134217728 bytes')]);
  });

  test('one that cannot be read stops the start: it may hold what the run needs', () => {
    const path = newPath();
    mkdirSync(path);
    expect(() => reopened(path)).toThrow(PeerError);
    expect(() => reopened(path)).toThrow('it is not a regular file');
  });
});

describe('size and syncs', () => {
  test('the file stays small, and keeps the newest steps through any number of compactions', async () => {
    const path = newPath();
    const journal = Journal.create(path, noWarning, { disk: quickDisk, compactAboveBytes: 20_000 });
    const records: JournalRecord[] = [run];
    journal.append(run);
    for (let step = 1; step <= 1_000; step++) {
      const inTerm = Math.ceil(step / 30);
      if (step % 30 === 1) records.push(term(inTerm, step - 1));
      records.push(commit(step, inTerm));
      for (const record of records.slice(step % 30 === 1 ? -2 : -1)) journal.append(record);
      expect(statSync(path).size).toBeLessThan(30_000);
      if (step % 10 === 0) expect(isRecovery(reopened(path).recovered!, expectedAfter(records))).toBe(true);
    }
    expect(reopened(path).recovered!.commits).toHaveLength(commitsKept);
    expect(reopened(path).recovered!.step).toBe(1_000);
    await journal.close();
    expect(readdirSync(join(path, '..'))).toEqual(['journal.jsonl']);
  });

  test('commits that come during a sync are covered by the next one; other records are synced at once', async () => {
    const path = newPath();
    const log: string[] = [];
    const waiting: (() => void)[] = [];
    const disk = {
      ...intercepted((operation) => log.push(operation)),
      syncInBackground: () => new Promise<void>((resolve) => waiting.push(resolve)),
    };
    const journal = Journal.create(path, noWarning, { disk });
    journal.append(run);
    expect(log).toEqual(['create', 'write', 'sync', 'rename', 'syncFolderOf']);
    log.length = 0;
    journal.append(term(1, 0));
    expect(log).toEqual(['write', 'sync']);
    for (let step = 1; step <= 5; step++) journal.append(commit(step));
    expect(waiting).toHaveLength(1);
    let flushed = false;
    const flush = journal.flush().then(() => {
      flushed = true;
    });
    waiting[0]!();
    await new Promise(setImmediate);
    expect(waiting).toHaveLength(2);
    expect(flushed).toBe(false);
    waiting[1]!();
    await flush;
    expect(waiting).toHaveLength(2);
    await journal.close();
  });

  test('a file that was replaced is closed, but not while a sync uses it', async () => {
    const path = newPath();
    const events: string[] = [];
    let finish = (): void => undefined;
    const disk = {
      ...quickDisk,
      async syncInBackground(descriptor: number) {
        if (events.length > 0) return;
        events.push(`began to sync ${descriptor}`);
        await new Promise<void>((resolve) => {
          finish = resolve;
        });
        events.push(`synced ${descriptor}`);
      },
      close(descriptor: number) {
        events.push(`closed ${descriptor}`);
        quickDisk.close(descriptor);
      },
    };
    const journal = Journal.create(path, noWarning, { disk, compactAboveBytes: 600 });
    for (const record of [run, term(1, 0), commit(1)]) journal.append(record);
    const descriptor = events[0]!.slice('began to sync '.length);
    journal.append(commit(2));
    journal.append(commit(3));
    expect(events).toHaveLength(1);
    finish();
    await journal.flush();
    expect(events.slice(1)).toEqual([`synced ${descriptor}`, `closed ${descriptor}`]);
    await journal.close();
    expect(events).toHaveLength(4);
  });
});

describe('a coordinator at another place', () => {
  const place = { address: 'tcp://10.7.0.9:1', advertise: 'tcp://train.example:1' };

  test('is found there, with everything else as it was, and appended to', async () => {
    const path = newPath();
    await written(path, someSteps);
    const before = reopened(path).recovered!;
    const { journal } = Journal.open(path, noWarning, { disk: quickDisk });
    journal.relocate(place);
    expect(reopened(path)).toEqual({ recovered: { ...before, ...place }, warnings: [] });
    journal.append(term(3, 3));
    await journal.close();
    expect(reopened(path).recovered).toMatchObject({ ...place, term: 3 });
    const back = Journal.open(path, noWarning, { disk: quickDisk }).journal;
    back.relocate({ address: 'tcp://10.7.0.1:1', advertise: undefined });
    await back.close();
    expect(reopened(path).recovered).toMatchObject({ address: 'tcp://10.7.0.1:1', advertise: undefined, step: 3 });
  });

  test('on a disk that refuses: the file stays as it was, and the next record brings both', async () => {
    const path = newPath();
    await written(path, someSteps);
    const before = reopened(path).recovered!;
    const warnings: string[] = [];
    let isFull = true;
    const disk = {
      ...quickDisk,
      create: (beside: string) => {
        if (isFull) throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
        return quickDisk.create(beside);
      },
    };
    const { journal } = Journal.open(path, (message) => warnings.push(message), { disk });
    journal.relocate(place);
    expect(reopened(path).recovered).toEqual(before);
    expect(warnings).toEqual([expect.stringMatching(/^cannot write .*: .*; the run continues/)]);
    isFull = false;
    journal.append(term(3, 3));
    await journal.close();
    expect(reopened(path).recovered).toMatchObject({ ...place, term: 3 });
  });
});
