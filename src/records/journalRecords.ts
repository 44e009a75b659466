/**
 * What the journal of a run says: its records, the line that each becomes, and what they come to. Text and plain data only;
 * files are journal.ts.
 *
 * A line is one JSON object that begins with its checksum: `{"crc":"1f2e3d4c","kind":"commit",…}`. The checksum is the CRC-32
 * of the record's JSON, continued from the line before, so that a line that is missing, doubled or moved shows like one that
 * is damaged.
 */
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import { messageOf, PeerError } from '../base/errors.ts';
import { inTodaysWords, isOfOldRun } from './oldRecords.ts';

/** Maximum length of a line: a record of ten thousand ranks. */
const lineBytesMax = 2 ** 20;
/** Number of steps that a compacted journal keeps. */
export const commitsKept = 64;

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
/** As long as the control protocol lets it be. */
const text = z.string().max(4_096);
/** JSON has neither NaN nor Infinity: both are written as null and come back as NaN. */
const measured = z
  .number()
  .nullable()
  .transform((value) => value ?? Number.NaN);

/** The first record. As in the others, keys that are not known are left out: a later version may write more. */
const runRecord = z.object({
  kind: z.literal('run'),
  format: z.literal(2, { error: 'this version of Lockstep reads formats 1 and 2' }),
  runId: text,
  /** The address where the coordinator listens and workers reconnect; it may stand for every interface. */
  address: text,
  /** The address by which others know its machine, if one was given. */
  advertise: text.exactOptional(),
});

/** A membership was formed; it continues after `step` updates. */
const termRecord = z.object({
  kind: z.literal('term'),
  term: count,
  step: count,
  /** `process` (a word of base/processes.ts) where the coordinator could ask its system for the worker's. */
  members: z.array(z.object({ worker: text, host: text, pid: count, process: text.exactOptional() })).readonly(),
  /** Number of samples in the first `step` updates, and in each update of the term. Older versions left them out. */
  samples: count.exactOptional(),
  globalBatchSize: count.exactOptional(),
});

/** Every replica must apply this step. */
const commitRecord = z.object({
  kind: z.literal('commit'),
  term: count,
  step: count,
  loss: measured,
  means: z.record(text, measured).readonly().exactOptional(),
  gradNorm: measured,
  /** Number of tokens trained on so far, over the full run. */
  tokens: count,
  /** The same in samples. Older versions left it out: their samples all had the same number of tokens. */
  samples: count.exactOptional(),
  lr: measured,
  ranks: z.array(z.object({ rank: count, sampleFrom: count, sampleCount: count })).readonly(),
});
export type CommitRecord = z.infer<typeof commitRecord>;

/** The samples of an iteration are on disk: the steps after `step` learn from them. */
const rolloutsRecord = z.object({
  kind: z.literal('rollouts'),
  step: count,
  /** Counted from 1. */
  iteration: count.min(1),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

const journalRecord = z.discriminatedUnion('kind', [
  runRecord,
  termRecord,
  commitRecord,
  rolloutsRecord,
  /** All state was lost: the run continues from the checkpoint of this step. Also used for a run that starts at a checkpoint. */
  z.object({ kind: z.literal('rewind'), step: count }),
  /** Nothing remains to recover. */
  z.object({ kind: z.literal('ended'), step: count }),
]);
export type JournalRecord = z.infer<typeof journalRecord>;

/** The state that the records lead to. */
export interface JournalHistory {
  readonly run: z.infer<typeof runRecord>;
  /** The last one, if a membership was ever formed. */
  readonly term: z.infer<typeof termRecord> | undefined;
  /** Number of updates committed. */
  readonly step: number;
  /** The last {@link commitsKept}, oldest first; none is later than `step`. */
  readonly commits: readonly CommitRecord[];
  /** The last one, if the run writes its own samples; it is of an iteration that begins at `step` or before. */
  readonly rollouts: z.infer<typeof rolloutsRecord> | undefined;
  readonly ended: boolean;
}

/** The state of a run when its coordinator ended. */
export interface Recovered {
  readonly runId: string;
  /** The address where its workers try to reconnect. */
  readonly address: string;
  readonly advertise: string | undefined;
  /** 0 if no membership had been formed. */
  readonly term: number;
  /** Updates committed, or the step that the run was rewound to. */
  readonly step: number;
  /** Term of the newest commit in `commits`; 0 if there is none. */
  readonly committedTerm: number;
  /** Gradient norm of `step`, if its commit is kept. */
  readonly gradNorm: number | undefined;
  /** Learning rate of the update of `step`, if its commit is kept. */
  readonly learningRate: number | undefined;
  /** Number of tokens trained on in `step` updates, if its commit is kept. */
  readonly tokens: number | undefined;
  /** The same in samples. */
  readonly samples: number | undefined;
  /** Number of samples in each update of the term, those included whose commits were lost; undefined if an older version wrote it. */
  readonly globalBatchSize: number | undefined;
  /** Members of the term. */
  readonly members: readonly {
    readonly worker: string;
    readonly host: string;
    readonly pid: number;
    readonly process?: string;
  }[];
  /** The newest ones that are kept, oldest first. */
  readonly commits: readonly CommitRecord[];
  /** The newest iteration whose samples are on disk; its first step follows `step` updates. */
  readonly rollouts: { readonly step: number; readonly iteration: number; readonly sha256: string } | undefined;
}

/** Why `record` cannot come after `history`, or undefined. */
export function misplaced(history: JournalHistory | undefined, record: JournalRecord): string | undefined {
  if (history === undefined || record.kind === 'run') {
    return (history === undefined) === (record.kind === 'run') ? undefined : 'a journal has one run, its first record';
  }
  if (history.ended) return `${record.kind} after the end`;
  const { step } = history;
  const lastTerm = history.term?.term ?? history.commits.at(-1)?.term ?? 0;
  switch (record.kind) {
    case 'term':
      if (record.term < lastTerm || record.term === history.term?.term) {
        return `term ${record.term} after term ${lastTerm}`;
      }
      return record.step < step ? `term ${record.term} at step ${record.step} after step ${step}` : undefined;
    case 'commit': {
      // A compacted journal begins with commits of earlier terms; its last term comes after them.
      const isInOrder =
        history.term === undefined
          ? record.term >= lastTerm && record.step > step
          : record.term === lastTerm && record.step === step + 1;
      return isInOrder
        ? undefined
        : `a commit of step ${record.step} in term ${record.term} after step ${step} in term ${lastTerm}`;
    }
    case 'rollouts':
      // A run that returns to a checkpoint within an iteration records its rollouts again.
      return record.step <= step ? undefined : `rollouts made at step ${record.step} after step ${step}`;
    default:
      return undefined;
  }
}

/** @param record one that is not {@link misplaced} */
export function follow(history: JournalHistory | undefined, record: JournalRecord): JournalHistory {
  if (record.kind === 'run' || history === undefined) {
    return {
      run: record as JournalHistory['run'],
      term: undefined,
      step: 0,
      commits: [],
      rollouts: undefined,
      ended: false,
    };
  }
  switch (record.kind) {
    case 'term':
      return { ...history, term: record, step: record.step };
    case 'commit':
      return { ...history, step: record.step, commits: [...history.commits.slice(1 - commitsKept), record] };
    case 'rewind': {
      const commits = history.commits.filter(({ step }) => step <= record.step);
      // Another state follows the same step.
      const rollouts = history.rollouts && history.rollouts.step < record.step ? history.rollouts : undefined;
      return { ...history, step: record.step, commits, rollouts };
    }
    case 'rollouts':
      return { ...history, rollouts: record };
    case 'ended':
      return { ...history, ended: true };
  }
}

/** The fewest records that come to `history`. */
export function compacted({ run, term, step, commits, rollouts, ended }: JournalHistory): JournalRecord[] {
  const records: JournalRecord[] = [run, ...commits];
  // Their step may not be among the commits that are kept.
  if (rollouts !== undefined && rollouts.step > (commits.at(-1)?.step ?? 0)) {
    records.push({ kind: 'rewind', step: rollouts.step });
  }
  if (rollouts !== undefined) records.push(rollouts);
  if (term !== undefined) {
    const { samples, ...others } = term;
    records.push({ ...others, step, ...(samples !== undefined && step === term.step && { samples }) });
  } else if (step > 0) records.push({ kind: 'rewind', step });
  if (ended) records.push({ kind: 'ended', step });
  return records;
}

/** The state that a coordinator continues from; undefined after the end. */
export function recoveredFrom(history: JournalHistory | undefined): Recovered | undefined {
  if (history === undefined || history.ended) return undefined;
  const { run, term, step, commits, rollouts } = history;
  const last = commits.at(-1);
  const ofStep = last?.step === step ? last : undefined;
  return {
    runId: run.runId,
    address: run.address,
    advertise: run.advertise,
    term: term?.term ?? 0,
    step,
    committedTerm: last?.term ?? 0,
    gradNorm: ofStep?.gradNorm,
    learningRate: ofStep?.lr,
    tokens: ofStep?.tokens,
    samples: ofStep?.samples ?? (term?.step === step ? term.samples : undefined),
    globalBatchSize: term?.globalBatchSize,
    members: term?.members ?? [],
    commits,
    rollouts: rollouts && { step: rollouts.step, iteration: rollouts.iteration, sha256: rollouts.sha256 },
  };
}

/** @param crc of the line before; 0 at the beginning @throws PeerError if it is too long */
export function encodeLine(record: JournalRecord, crc: number): { line: string; crc: number } {
  const json = JSON.stringify(record);
  const next = crc32(json, crc);
  const line = `{"crc":"${next.toString(16).padStart(8, '0')}",${json.slice(1)}\n`;
  // No reader would accept it.
  if (Buffer.byteLength(line) > lineBytesMax) {
    throw new PeerError(`expected a record of at most ${lineBytesMax} bytes, received ${Buffer.byteLength(line)}`);
  }
  return { line, crc: next };
}

/** The contents of a file, up to a torn last line. */
export interface JournalContents {
  readonly history: JournalHistory | undefined;
  /** Length of the records, in bytes. */
  readonly bytes: number;
  /** Checksum of the last record. */
  readonly crc: number;
  /** Whether the file has nothing but records in the current format, so that a line can be appended. */
  readonly isWhole: boolean;
}

/** Reads a journal. A last line without its end was being written when the process died, and counts for nothing. */
export function readContents(file: Buffer): JournalContents | { readonly problem: string } {
  let history: JournalHistory | undefined;
  let crc = 0;
  let isOld = false;
  for (let at = 0, line = 1; at < file.length; line++) {
    const end = file.indexOf('\n', at);
    if (end < 0) {
      const last = decodeTorn(file.subarray(at), crc);
      if (last === undefined || misplaced(history, last.record) !== undefined) {
        return { history, bytes: at, crc, isWhole: false };
      }
      return { history: follow(history, last.record), bytes: at + last.bytes, crc: last.crc, isWhole: false };
    }
    const decoded = decodeLine(file.subarray(at, end), crc);
    const problem = 'problem' in decoded ? decoded.problem : misplaced(history, decoded.record);
    if ('problem' in decoded || problem !== undefined) return { problem: `line ${line}: ${problem}` };
    history = follow(history, decoded.record);
    crc = decoded.crc;
    isOld ||= decoded.isOld;
    at = end + 1;
  }
  return { history, bytes: file.length, crc, isWhole: !isOld };
}

/** The record in a last line with only its end missing or damaged. */
function decodeTorn(line: Buffer, crc: number): { record: JournalRecord; crc: number; bytes: number } | undefined {
  for (const bytes of [line.length, line.length - 1]) {
    const decoded = decodeLine(line.subarray(0, bytes), crc);
    if (!('problem' in decoded)) return { ...decoded, bytes };
  }
  return undefined;
}

const linePrefix = /^\{"crc":"([0-9a-f]{8})",/;
const prefixBytes = '{"crc":"00000000",'.length;

type Decoded = { record: JournalRecord; crc: number; isOld: boolean } | { problem: string };

function decodeLine(line: Buffer, crc: number): Decoded {
  if (line.length > lineBytesMax) return { problem: `expected at most ${lineBytesMax} bytes, received ${line.length}` };
  const expected = linePrefix.exec(line.toString('latin1', 0, prefixBytes))?.[1];
  if (expected === undefined) return { problem: 'expected a record that begins with its checksum' };
  const json = `{${line.toString('utf8', prefixBytes)}`;
  const next = crc32(json, crc);
  if (next.toString(16).padStart(8, '0') !== expected) return { problem: 'its checksum does not match' };
  try {
    const value: unknown = JSON.parse(json);
    const result = journalRecord.safeParse(inTodaysWords(value));
    if (result.success) return { record: result.data, crc: next, isOld: isOfOldRun(value) };
    const issue = result.error.issues[0];
    return { problem: `${issue?.path.join('.') || 'record'}: ${issue?.message}` };
  } catch (error) {
    return { problem: messageOf(error) };
  }
}
