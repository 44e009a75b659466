/** Records of a run, what a coordinator must find after them, and a disk that fails on purpose. */
import { type JournalDisk, nodeJournalDisk } from '../../../src/records/journalDisk.ts';
import type { CommitRecord, JournalRecord, Recovered } from '../../../src/records/journalRecords.ts';

export const run: JournalRecord = { kind: 'run', format: 2, runId: 'r-1', address: 'tcp://127.0.0.1:5555' };

export function term(number: number, step: number, workers = 2): JournalRecord & { kind: 'term' } {
  const members = Array.from({ length: workers }, (_, i) => ({ worker: `w${i}`, host: 'höst', pid: 100 + i }));
  return { kind: 'term', term: number, step, members };
}

export function commit(step: number, inTerm = 1): CommitRecord {
  return {
    kind: 'commit',
    term: inTerm,
    step,
    loss: 4 / step,
    gradNorm: 0.1 + step,
    tokens: step * 96,
    lr: 1e-3,
    ranks: [
      { rank: 0, sampleFrom: 0, sampleCount: 2 },
      { rank: 1, sampleFrom: 2, sampleCount: 1 },
    ],
  };
}

/** The record of an iteration that begins after `step`. */
export function rollouts(step: number): JournalRecord & { kind: 'rollouts' } {
  return { kind: 'rollouts', step, iteration: step + 1, sha256: (step % 16).toString(16).repeat(64) };
}

/** What records come to, said a second time and simply: all commits, not only those that are kept. */
export function expectedAfter(records: readonly JournalRecord[]): Recovered | undefined {
  let found: Recovered | undefined;
  for (const record of records) {
    if (record.kind === 'run') {
      const { runId, address, advertise } = record;
      found = {
        runId,
        address,
        advertise,
        term: 0,
        step: 0,
        committedTerm: 0,
        gradNorm: undefined,
        learningRate: undefined,
        tokens: undefined,
        samples: undefined,
        globalBatchSize: undefined,
        members: [],
        commits: [],
        rollouts: undefined,
      };
    } else if (record.kind === 'ended') found = undefined;
    else if (record.kind === 'rollouts') {
      const { step, iteration, sha256 } = record;
      found = { ...found!, rollouts: { step, iteration, sha256 } };
    } else if (record.kind === 'term') {
      const { term, step, members } = record;
      found = { ...found!, term, step, members, ...ofStep(step, found!.commits) };
    } else {
      const before = record.kind === 'commit' ? record.step - 1 : record.step;
      const commits = found!.commits.filter(({ step }) => step <= before);
      if (record.kind === 'commit') commits.push(record);
      const committedTerm = commits.at(-1)?.term ?? 0;
      const isVoid = record.kind === 'rewind' && (found!.rollouts?.step ?? -1) >= record.step;
      const rollouts = isVoid ? undefined : found!.rollouts;
      found = { ...found!, step: record.step, commits, committedTerm, ...ofStep(record.step, commits), rollouts };
    }
  }
  return found;
}

function ofStep(
  step: number,
  commits: readonly CommitRecord[],
): Pick<Recovered, 'gradNorm' | 'learningRate' | 'tokens' | 'samples'> {
  const last = commits.at(-1);
  return last?.step === step
    ? { gradNorm: last.gradNorm, learningRate: last.lr, tokens: last.tokens, samples: last.samples }
    : { gradNorm: undefined, learningRate: undefined, tokens: undefined, samples: undefined };
}

/** Equal but for commits that a journal need not keep: those it has must be the newest. */
export function isRecovery(found: Recovered, expected: Recovered | undefined): boolean {
  if (expected === undefined) return false;
  // The term of a commit that is not kept is unknown.
  const commits = found.commits.length === 0 ? [] : expected.commits.slice(-found.commits.length);
  const committedTerm = commits.at(-1)?.term ?? 0;
  return (
    JSON.stringify(found) === JSON.stringify({ ...expected, commits, committedTerm, ...ofStep(expected.step, commits) })
  );
}

type Before = (operation: string, halfDo: () => void) => void;

/** Every operation that changes the disk first asks `before`; `halfDo` does a part of it. */
export function intercepted(before: Before): JournalDisk {
  const nothing = (): void => undefined;
  const asking =
    <A extends unknown[], R>(name: string, operation: (...args: A) => R) =>
    (...args: A): R => {
      before(name, nothing);
      return operation(...args);
    };
  return {
    open: asking('open', nodeJournalDisk.open),
    create: asking('create', nodeJournalDisk.create),
    write(descriptor, bytes) {
      before('write', () => nodeJournalDisk.write(descriptor, bytes.subarray(0, bytes.length >> 1)));
      return nodeJournalDisk.write(descriptor, bytes);
    },
    // A process that dies takes nothing from the page cache: no real syncs, which take long.
    sync: () => before('sync', nothing),
    syncInBackground: async () => before('syncInBackground', nothing),
    // A dead process has closed its files.
    close: nodeJournalDisk.close,
    truncate: asking('truncate', nodeJournalDisk.truncate),
    rename: asking('rename', nodeJournalDisk.rename),
    syncFolderOf: () => before('syncFolderOf', nothing),
    remove: asking('remove', nodeJournalDisk.remove),
  };
}

/** From operation number `count` on, nothing works: the process is as good as dead. */
export function dyingAfter(count: number, half: boolean): { disk: JournalDisk; died: () => boolean } {
  let done = 0;
  const disk = intercepted((operation, halfDo) => {
    if (done === count && half) halfDo();
    if (done++ >= count) throw new Error(`killed at operation ${count}, ${operation}`);
  });
  return { disk, died: () => done > count };
}

export const quickDisk = intercepted(() => undefined);
