/**
 * The reports of several workers of one host as one message, in an envelope (hostEnvelope.ts) that names these workers. What is equal for all
 * is in the message once; the rest are rows of numbers, one for each worker, in the order in which the envelope names them:
 *
 * ```
 *  reduced    sampleFrom, sampleCount, gradNorm, the sums in the order of `sums`
 *  applied    dataWaitMs, forwardBackwardMs, ringWaitMs, commitWaitMs, optimizerMs, ringBytesSent
 *  heartbeat  ringFrames
 *  phase      nothing
 * ```
 *
 * A row keeps every bit of its numbers, and has the bounds that a message of one worker has (workerMessages.ts).
 */
import { Packr } from 'msgpackr';
import { z } from 'zod';
import { invariant, PeerError } from '../base/errors.ts';
import type { Sums } from '../base/sums.ts';
import { count, hash, phase, type StepTimings, sumNames } from './messageFields.ts';
import { decodeFrame } from './protocol.ts';
import type { WorkerMessage, WorkerMessageOf } from './workerMessages.ts';

/** What every member of a ring sends in each step. */
export type ReportMessage = WorkerMessageOf<'reduced' | 'applied' | 'heartbeat' | 'phase'>;

/** Float64, row after row, in the byte order of this machine. */
const rows = z.instanceof(Uint8Array);

/** Validates all but the rows. */
export const hostReports = z.discriminatedUnion('type', [
  z.object({ type: z.literal('reduced'), term: count, step: count, sums: sumNames, rows }),
  z.object({ type: z.literal('applied'), term: count, step: count, parameterHash: hash.optional(), rows }),
  z.object({ type: z.literal('heartbeat'), step: count, phase, rows }),
  z.object({ type: z.literal('phase'), step: count, phase, rows }),
]);
type HostReports = z.infer<typeof hostReports>;
type WithoutRows<Reports> = Reports extends HostReports ? Omit<Reports, 'rows'> : never;
/** What such a message says of all workers. */
type Common = WithoutRows<HostReports>;

const timingNames = [
  'dataWaitMs',
  'forwardBackwardMs',
  'ringWaitMs',
  'commitWaitMs',
  'optimizerMs',
] as const satisfies readonly (keyof StepTimings)[];

/** Starts of messages that a reader remembers: one for each kind, and number of workers, of a step. */
const startsMax = 16;

const packr = new Packr({ useRecords: false });

export function isReport(message: WorkerMessage): message is ReportMessage {
  const { type } = message;
  return type === 'reduced' || type === 'applied' || type === 'heartbeat' || type === 'phase';
}

/** Reports with the same word can be one message. */
export function reportGroup(report: ReportMessage): string {
  const { type, step } = report;
  if (type === 'reduced') return `${type} ${report.term} ${step} ${Object.keys(report.sums).join(' ')}`;
  if (type === 'applied') return `${type} ${report.term} ${step} ${report.parameterHash}`;
  return `${type} ${step} ${report.phase}`;
}

/** @param reports of one {@link reportGroup} */
export function encodeReports(reports: readonly ReportMessage[]): Uint8Array {
  const [first] = reports;
  invariant(first !== undefined, 'nobody has reported');
  const numbers = Float64Array.from(reports.flatMap(rowOf));
  return packr.pack({ ...commonOf(first), rows: new Uint8Array(numbers.buffer) });
}

function commonOf(report: ReportMessage): object {
  const { type, step } = report;
  if (type === 'reduced') return { type, term: report.term, step, sums: Object.keys(report.sums) };
  if (type === 'applied') {
    const { term, parameterHash } = report;
    return { type, term, step, ...(parameterHash !== undefined && { parameterHash }) };
  }
  return { type, step, phase: report.phase };
}

function rowOf(report: ReportMessage): number[] {
  switch (report.type) {
    case 'reduced':
      return [report.sampleFrom, report.sampleCount, report.gradNorm, ...Object.values(report.sums)];
    case 'applied':
      return [...timingNames.map((name) => report.timings[name]), report.ringBytesSent];
    case 'heartbeat':
      return [report.ringFrames];
    default:
      return [];
  }
}

/** A message up to its rows, which end it. */
interface Start {
  readonly bytes: Buffer;
  readonly rowBytes: number;
  /** Without the rows: they are a view of the frame, perhaps of megabytes, which would stay in memory. */
  readonly common: Common;
}

/**
 * Reads such messages. What the hosts of a run say of a step differs in the rows alone, so a message that begins with the same bytes as one before, and has rows of
 * the same length, is not decoded and validated again.
 */
export class ReportReader {
  /** The newest first. */
  #starts: Start[] = [];

  /**
   * The report of each worker.
   * @param workers their number
   * @throws PeerError if the frame is not a message of this number of workers, or if one of their reports is out of bounds
   */
  read(frame: Uint8Array, workers: number): ReportMessage[] {
    const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
    const known = this.#starts.find((start) => isBegunBy(bytes, start));
    if (known !== undefined) return reportsOf(known.common, bytes.subarray(known.bytes.length), workers);
    const { rows, ...common } = decodeFrame(hostReports, frame);
    const reports = reportsOf(common, rows, workers);
    const start = bytes.subarray(0, bytes.length - rows.byteLength);
    const isLast = rows.buffer === frame.buffer && rows.byteOffset === start.byteOffset + start.length;
    // A copy: the frame may be reused.
    if (isLast) {
      const begin = { bytes: Buffer.from(start), rowBytes: rows.byteLength, common };
      this.#starts = [begin, ...this.#starts.slice(0, startsMax - 1)];
    }
    return reports;
  }
}

function isBegunBy(frame: Buffer, { bytes, rowBytes }: Start): boolean {
  return frame.length === bytes.length + rowBytes && frame.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}

function reportsOf(common: Common, rows: Uint8Array, workers: number): ReportMessage[] {
  const columns = columnsOf(common);
  if (rows.byteLength !== workers * columns * Float64Array.BYTES_PER_ELEMENT) {
    throw new PeerError(
      `malformed control message: rows: expected ${columns} numbers for each of ${workers} workers, received ${rows.byteLength} bytes`,
    );
  }
  // A copy of its own, aligned to eight bytes.
  const numbers = new Float64Array(new Uint8Array(rows).buffer);
  const reports: ReportMessage[] = [];
  for (let i = 0; i < workers; i++) {
    const report = reportOf(common, numbers, i * columns);
    if (report === undefined) throw new PeerError(`malformed control message: row ${i} of ${workers} is out of bounds`);
    reports.push(report);
  }
  return reports;
}

function columnsOf(common: Common): number {
  switch (common.type) {
    case 'reduced':
      return 3 + common.sums.length;
    case 'applied':
      return timingNames.length + 1;
    case 'heartbeat':
      return 1;
    default:
      return 0;
  }
}

/** The report in the row that begins at this number; undefined if it is out of bounds. */
function reportOf(common: Common, numbers: Float64Array, at: number): ReportMessage | undefined {
  switch (common.type) {
    case 'reduced': {
      const { type, term, step } = common;
      const [sampleFrom, sampleCount] = [numbers[at]!, numbers[at + 1]!];
      const sums = sumsOf(common.sums, numbers, at + 3);
      const fits = isCount(sampleFrom) && isCount(sampleCount) && isAmount(sums.weight);
      return fits ? { type, term, step, sampleFrom, sampleCount, sums, gradNorm: numbers[at + 2]! } : undefined;
    }
    case 'applied': {
      const { type, term, step, parameterHash } = common;
      const ringBytesSent = numbers[at + timingNames.length]!;
      for (let i = 0; i < timingNames.length; i++) if (!isAmount(numbers[at + i]!)) return undefined;
      if (!isCount(ringBytesSent)) return undefined;
      const timings = {
        dataWaitMs: numbers[at]!,
        forwardBackwardMs: numbers[at + 1]!,
        ringWaitMs: numbers[at + 2]!,
        commitWaitMs: numbers[at + 3]!,
        optimizerMs: numbers[at + 4]!,
      };
      return { type, term, step, timings, ringBytesSent, parameterHash };
    }
    case 'heartbeat': {
      const { type, step, phase: doing } = common;
      const ringFrames = numbers[at]!;
      return isCount(ringFrames) ? { type, step, phase: doing, ringFrames } : undefined;
    }
    default:
      return { type: common.type, step: common.step, phase: common.phase };
  }
}

function sumsOf(names: readonly string[], numbers: Float64Array, from: number): Sums {
  const sums: Record<string, number> & { weight: number; loss: number } = { weight: 0, loss: 0 };
  for (let i = 0; i < names.length; i++) sums[names[i]!] = numbers[from + i]!;
  return sums;
}

/** As `count` of messageFields.ts. */
function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/** Milliseconds, or a weight. */
function isAmount(value: number): boolean {
  return value >= 0 && value < Number.POSITIVE_INFINITY;
}
