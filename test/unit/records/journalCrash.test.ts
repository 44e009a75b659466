/**
 * The journal on a disk that fails: stopped before each operation and in its middle, full, broken. Whatever the moment, the
 * next coordinator finds the run as it was after the last record, or at an earlier commit, or nothing; never a run that was
 * rewound or ended, nor an outdated membership.
 */
import { copyFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Journal } from '../../../src/records/journal.ts';
import type { JournalDisk } from '../../../src/records/journalDisk.ts';
import type { JournalRecord, Recovered } from '../../../src/records/journalRecords.ts';
import { temporaryFolder } from '../checkpoint/tinyCheckpoint.ts';
import {
  commit,
  dyingAfter,
  expectedAfter,
  intercepted,
  isRecovery,
  quickDisk,
  rollouts,
  run,
  term,
} from './journalFixtures.ts';

const noWarning = (message: string): never => expect.fail(message);

/** What the next coordinator finds; it must be warned of nothing. */
function found(path: string): Recovered | undefined {
  return Journal.open(path, noWarning).recovered;
}

async function written(path: string, records: readonly JournalRecord[]): Promise<void> {
  const journal = Journal.create(path, noWarning, { disk: quickDisk });
  for (const record of records) journal.append(record);
  await journal.close();
}

const steps = Array.from({ length: 80 }, (_, i) => commit(i + 1));
const before: JournalRecord[] = [run, term(1, 0), ...steps];

describe.each<[string, JournalRecord, number]>([
  ['a commit', commit(81), 2 ** 20],
  ['a commit that makes the file too large', commit(81), 1_000],
  ['a term', term(2, 80), 2 ** 20],
  ['a term that makes the file too large', term(2, 80), 1_000],
  ['a rewind', { kind: 'rewind', step: 40 }, 2 ** 20],
  ['a rewind that makes the file too large', { kind: 'rewind', step: 40 }, 1_000],
  ['the end', { kind: 'ended', step: 80 }, 2 ** 20],
])('%s', (_, record, compactAboveBytes) => {
  test.each([false, true])('killed at every operation (in its middle: %s)', async (half) => {
    const template = join(temporaryFolder(), 'journal.jsonl');
    await written(template, before);
    const states = [expectedAfter(before), expectedAfter([...before, record])];
    let died = true;
    let seenOld = false;
    for (let count = 0; died; count++) {
      const path = join(temporaryFolder(), 'journal.jsonl');
      copyFileSync(template, path);
      const dying = dyingAfter(count, half);
      const { journal } = Journal.open(path, noWarning, { compactAboveBytes });
      await journal.close();
      const { journal: doomed } = Journal.open(path, () => undefined, { compactAboveBytes, disk: dying.disk });
      doomed.append(record);
      await doomed.close();
      died = dying.died();
      const recovered = found(path);
      const which = states.findIndex((state) =>
        recovered === undefined ? state === undefined : isRecovery(recovered, state),
      );
      expect(which, `after ${count} operations`).toBeGreaterThanOrEqual(0);
      if (!died) expect(which).toBe(1);
      seenOld ||= which === 0;
      // What was left beside is cleared away.
      await Journal.open(path, noWarning).journal.close();
      expect(readdirSync(dirname(path))).toEqual(['journal.jsonl']);
    }
    expect(seenOld).toBe(true);
  });
});

/** Refuses with this code while `isFull`: writes take half of what they are given first. */
function refusing(state: { isFull: boolean }, operations: readonly string[], code = 'ENOSPC'): JournalDisk {
  return intercepted((operation, halfDo) => {
    if (!state.isFull || !operations.includes(operation)) return;
    halfDo();
    throw Object.assign(new Error(`${code}: refused`), { code });
  });
}

describe('a disk that is full for a while', () => {
  test.each<[string, JournalRecord[], boolean]>([
    ['commits: the last complete one stays', [commit(4), commit(5), commit(6)], true],
    ['a term: an outdated membership must not come back', [term(2, 3), commit(4, 2)], false],
    ['a rewind: what was given up must not come back', [{ kind: 'rewind', step: 1 }, term(2, 1)], false],
    ['the end: the run must not come back', [{ kind: 'ended', step: 3 }], false],
  ])('%s', async (_, refused, oldStays) => {
    const path = join(temporaryFolder(), 'journal.jsonl');
    const state = { isFull: false };
    const warnings: string[] = [];
    const disk = refusing(state, ['create', 'write']);
    const journal = Journal.create(path, (message) => warnings.push(message), { disk });
    const records: JournalRecord[] = [run, term(1, 0), commit(1), commit(2), commit(3)];
    for (const record of records) journal.append(record);
    state.isFull = true;
    for (const record of refused) {
      journal.append(record);
      expect(found(path)).toEqual(oldStays ? expectedAfter(records) : undefined);
    }
    expect(warnings).toEqual([
      expect.stringMatching(/^cannot write .*journal\.jsonl: the disk is full \(ENOSPC\); the run continues/),
    ]);
    state.isFull = false;
    if (refused.at(-1)?.kind !== 'ended') {
      journal.append(term(9, 9));
      expect(found(path)).toEqual(expectedAfter([...records, ...refused, term(9, 9)]));
    }
    await journal.close();
    expect(warnings).toHaveLength(1);
    expect(readdirSync(dirname(path))).toEqual(['journal.jsonl']);
  });

  test('where the file cannot even be cut it is removed', () => {
    const path = join(temporaryFolder(), 'journal.jsonl');
    const state = { isFull: false };
    const journal = Journal.create(path, () => undefined, { disk: refusing(state, ['write', 'truncate'], 'EIO') });
    for (const record of [run, term(1, 0), commit(1)]) journal.append(record);
    state.isFull = true;
    journal.append(commit(2));
    expect(found(path)).toEqual(expectedAfter([run, term(1, 0), commit(1)]));
    journal.append({ kind: 'rewind', step: 0 });
    expect(readdirSync(dirname(path))).toEqual([]);
  });

  test('where it can neither be cut nor removed, the user is told', () => {
    const path = join(temporaryFolder(), 'journal.jsonl');
    const state = { isFull: false };
    const warnings: string[] = [];
    const disk = refusing(state, ['write', 'truncate', 'remove'], 'EROFS');
    const journal = Journal.create(path, (message) => warnings.push(message), { disk });
    for (const record of [run, term(1, 0), commit(1)]) journal.append(record);
    state.isFull = true;
    journal.append(term(2, 1));
    expect(warnings).toEqual([
      expect.stringMatching(
        /is outdated and could not be removed: the disk is read-only \(EROFS\)\. Remove it by hand\.$/,
      ),
      expect.stringMatching(/^cannot write /),
    ]);
  });

  test('a background sync that fails: the next record writes all of it anew', async () => {
    const path = join(temporaryFolder(), 'journal.jsonl');
    const state = { isFull: true };
    const warnings: string[] = [];
    const log: string[] = [];
    const disk = refusing(state, ['syncInBackground'], 'EIO');
    const create = (at: string): number => {
      log.push('create');
      return disk.create(at);
    };
    const journal = Journal.create(path, (message) => warnings.push(message), { disk: { ...disk, create } });
    for (const record of [run, term(1, 0), commit(1)]) journal.append(record);
    await journal.flush();
    expect(warnings).toEqual([expect.stringContaining('the disk reported an error (EIO)')]);
    expect(log).toHaveLength(1);
    journal.append(commit(2));
    expect(log).toHaveLength(2);
    expect(found(path)).toEqual(expectedAfter([run, term(1, 0), commit(1), commit(2)]));
    await journal.close();
  });

  test('a record that nobody would read again is refused like that', () => {
    const path = join(temporaryFolder(), 'journal.jsonl');
    const warnings: string[] = [];
    const journal = Journal.create(path, (message) => warnings.push(message), { disk: quickDisk });
    for (const record of [run, term(1, 0), term(2, 0, 40_000)]) journal.append(record);
    expect(warnings).toEqual([expect.stringContaining('expected a record of at most 1048576 bytes')]);
    expect(found(path)).toBeUndefined();
    journal.append(term(3, 0));
    expect(found(path)).toEqual(expectedAfter([run, term(3, 0)]));
  });
});

/** One move of a run: what it appends depends on where the run is. */
type Move = 'commit' | 'term' | 'rollouts' | 'rewind' | 'ended' | 'reopen';
const move = fc.constantFrom<Move>(
  'commit',
  'commit',
  'commit',
  'commit',
  'term',
  'rollouts',
  'rewind',
  'ended',
  'reopen',
);

function recordOf(kind: Exclude<Move, 'reopen'>, now: Recovered | undefined, number: number): JournalRecord {
  if (now === undefined) return run;
  if (kind === 'ended') return { kind, step: now.step };
  if (now.term === 0 || kind === 'term') return term(number + 1, now.step, 1 + (number % 3));
  if (kind === 'rollouts') return rollouts(now.step);
  return kind === 'commit' ? commit(now.step + 1, now.term) : { kind, step: now.step >> 1 };
}

test('any run on any bad disk: what is found is what was, or an earlier commit of the same membership, or nothing', () => {
  const folder = temporaryFolder();
  let runs = 0;
  const failures = fc.array(fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 12 })), { maxLength: 4 });
  fc.assert(
    fc.property(
      fc.array(move, { maxLength: 40 }),
      failures,
      fc.constantFrom(300, 1_500, 2 ** 20),
      (moves, bad, compactAboveBytes) => {
        const path = join(folder, `${runs++}.jsonl`);
        let operation = 0;
        const disk = intercepted((_, halfDo) => {
          const now = operation++;
          if (!bad.some(([from, count]) => now >= from && now < from + count)) return;
          halfDo();
          throw Object.assign(new Error('EIO'), { code: 'EIO' });
        });
        // Where nothing at all can be done about a file, its user is told.
        let isTold = false;
        const onWarning = (message: string): void => {
          isTold ||= message.includes('Remove it by hand');
        };
        const open = () => Journal.open(path, onWarning, { disk, compactAboveBytes });
        let { journal } = open();
        let records: JournalRecord[] = [];
        // The last record that must not be forgotten while later ones are remembered.
        let lastDecisive = 0;
        for (const [number, kind] of moves.entries()) {
          // Another run after the end opens the journal anew.
          if (kind === 'reopen' || records.at(-1)?.kind === 'ended') {
            const reopened = open();
            journal = reopened.journal;
            // The run continues from what was found, as its coordinator would.
            const length = reopened.recovered === undefined ? 0 : lengthOf(reopened.recovered, records);
            records = records.slice(0, length);
            continue;
          }
          const record = recordOf(kind, expectedAfter(records), number);
          records.push(record);
          if (record.kind !== 'commit') lastDecisive = records.length;
          journal.append(record);
          if (isTold) return;
          const recovered = Journal.open(path, noWarning).recovered;
          if (recovered !== undefined) expect(lengthOf(recovered, records)).toBeGreaterThanOrEqual(lastDecisive);
        }
      },
    ),
    { numRuns: 300 },
  );

  /** After how many of the records the run was as it was found. */
  function lengthOf(recovered: Recovered, records: readonly JournalRecord[]): number {
    for (let length = records.length; length > 0; length--) {
      if (isRecovery(recovered, expectedAfter(records.slice(0, length)))) return length;
    }
    return expect.fail(`found what never was: ${JSON.stringify(recovered)}`);
  }
});
