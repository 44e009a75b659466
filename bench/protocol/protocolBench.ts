/**
 * What the control protocol costs a step (comm/protocol.ts), on real runs of a model that costs next to nothing (protocolRun.ts).
 *
 * - **The commit round trip** is the time from `reduced` to `commit` on the rank whose `reduced` the coordinator received last, as that
 *   rank measures it (`commitWaitMs` of metrics.jsonl). The others also wait for that rank, which is not a cost of the protocol.
 * - **A step** is the time between the ends of two steps on the coordinator: the most steps a second that a run can do here, since
 *   forward, backward and ring of this model take little. Its processes share the cores: where there are fewer cores than processes,
 *   most of a step, and some of the round trip, is waiting for one.
 * - **CPU of the coordinator** is the processor time of its process, ZeroMQ's thread included, over the timed steps.
 * - **A heartbeat** is timed apart, since a few a second cannot be told from noise beside steps: workers of a run that does not begin
 *   send one every 10 ms, and the coordinator receives, answers and does nothing else for two seconds. Its processor time over
 *   their number is what one costs; ticks and waking up, which busy steps would share, count too. By the default interval
 *   (`comm.heartbeatIntervalMs`) that many workers' heartbeats come to so much a step. What a worker does for its own is not counted:
 *   it sends one and receives one, where the coordinator receives and sends those of all.
 */
import { availableParallelism } from 'node:os';
import { InvariantError } from '../../src/base/errors.ts';
import { median, quantile } from '../../src/base/statistics.ts';
import { fixed, numberColumn, tableHeading, tableRow, textColumn } from '../../src/bench/table.ts';
import { type StepSamples, timeHeartbeats, timeSteps } from './protocolTiming.ts';

/** What the round trip and the heartbeats of a step should not exceed, at 4 workers of one machine. */
export const boundMs = 1;

export interface ProtocolBenchOptions {
  /** Numbers of worker processes. */
  readonly workers: readonly number[];
  readonly steps: number;
  readonly onWarning: (message: string) => void;
}

export interface ProtocolBenchResult {
  readonly name: 'protocol';
  readonly workers: number;
  readonly encrypted: boolean;
  readonly commitMedianMs: number;
  readonly commitP95Ms: number;
  readonly stepMedianMs: number;
  readonly stepP95Ms: number;
  readonly stepsPerSecond: number;
  /** Processor time of the coordinator's process in one step. */
  readonly coordinatorCpuMs: number;
  /** Heartbeats of all workers, at the default interval. */
  readonly heartbeatsPerSecond: number;
  /** Processor time of the coordinator's process for one heartbeat. */
  readonly heartbeatCpuMs: number;
  /** Processor time of the coordinator's process for the heartbeats of one median step. */
  readonly heartbeatMsPerStep: number;
  /** The median round trip and the heartbeats. */
  readonly protocolMsPerStep: number;
}

export interface ProtocolBenchReport {
  readonly machine: { readonly cores: number };
  readonly steps: number;
  readonly engine: string;
  readonly results: readonly ProtocolBenchResult[];
  /** Results of the encrypted run with the most workers. */
  readonly bound: {
    readonly ms: number;
    readonly workers: number;
    readonly protocolMsPerStep: number;
    readonly met: boolean;
  };
}

/** Told of each row as soon as it is measured. */
export interface ProtocolBenchListener {
  started?(engine: string): void;
  measured?(result: ProtocolBenchResult): void;
  /** The part of everything that is done, from 0 to 1. */
  progress?(done: number): void;
}

/** Approximate share of the time of a row. */
const stepsShare = 0.7;

/** @throws PeerError if a run fails */
export async function runProtocolBench(
  { workers: counts, steps, onWarning }: ProtocolBenchOptions,
  listener: ProtocolBenchListener = {},
): Promise<ProtocolBenchReport> {
  const rows = counts.flatMap((workers) => [true, false].map((encrypted) => ({ workers, encrypted })));
  const results: ProtocolBenchResult[] = [];
  let engine = '';
  for (const [i, { workers, encrypted }] of rows.entries()) {
    const progress = (done: number) => listener.progress?.((i + done) / rows.length);
    const timed = await timeSteps({ workers, encrypted, steps, onWarning }, (done) => progress(stepsShare * done));
    if (i === 0) listener.started?.(timed.engine);
    engine = timed.engine;
    const heartbeatCpuMs = await timeHeartbeats({ workers, encrypted, onWarning });
    progress(1);
    const result = resultOf(workers, encrypted, timed, heartbeatCpuMs);
    results.push(result);
    listener.measured?.(result);
  }
  const most = Math.max(...counts);
  const judged = results.find(({ workers, encrypted }) => encrypted && workers === most);
  if (judged === undefined) throw new InvariantError('no row was measured');
  const { protocolMsPerStep } = judged;
  const bound = { ms: boundMs, workers: most, protocolMsPerStep, met: protocolMsPerStep <= boundMs };
  return { machine: { cores: availableParallelism() }, steps, engine, results, bound };
}

function resultOf(
  workers: number,
  encrypted: boolean,
  { commitMs, stepMs, elapsedMs, cpuMs, heartbeatIntervalMs }: StepSamples,
  heartbeatCpuMs: number,
): ProtocolBenchResult {
  const commitMedianMs = median(commitMs);
  const stepMedianMs = median(stepMs);
  const heartbeatsPerSecond = (1_000 * workers) / heartbeatIntervalMs;
  const heartbeatMsPerStep = (heartbeatsPerSecond / 1_000) * stepMedianMs * heartbeatCpuMs;
  return {
    name: 'protocol',
    workers,
    encrypted,
    commitMedianMs,
    commitP95Ms: quantile(commitMs, 0.95),
    stepMedianMs,
    stepP95Ms: quantile(stepMs, 0.95),
    stepsPerSecond: (1_000 * stepMs.length) / elapsedMs,
    coordinatorCpuMs: cpuMs / stepMs.length,
    heartbeatsPerSecond,
    heartbeatCpuMs,
    heartbeatMsPerStep,
    protocolMsPerStep: commitMedianMs + heartbeatMsPerStep,
  };
}

const columns = [
  numberColumn('workers'),
  textColumn('sockets', ['encrypted']),
  numberColumn('commit ms'),
  numberColumn('p95', 6),
  numberColumn('step ms'),
  numberColumn('p95', 6),
  numberColumn('steps/s'),
  numberColumn('coordinator CPU ms'),
  numberColumn('heartbeats/s'),
  numberColumn('CPU ms each'),
  numberColumn('ms a step'),
];

export function renderProtocolHead({ engine, steps, cores }: { engine: string; steps: number; cores: number }): string {
  return (
    `control protocol, ${cores} cores, ${steps} steps of a model that costs next to nothing on ${engine}\n\n` +
    `${tableHeading(columns)}\n`
  );
}

export function renderProtocolRow(result: ProtocolBenchResult): string {
  const { workers, encrypted, commitMedianMs, commitP95Ms, stepMedianMs, stepP95Ms, stepsPerSecond } = result;
  const { coordinatorCpuMs, heartbeatsPerSecond, heartbeatCpuMs, heartbeatMsPerStep } = result;
  const cells = [
    String(workers),
    encrypted ? 'encrypted' : 'plain',
    fixed(commitMedianMs, 3),
    fixed(commitP95Ms, 3),
    fixed(stepMedianMs, 2),
    fixed(stepP95Ms, 2),
    fixed(stepsPerSecond, 0),
    fixed(coordinatorCpuMs, 3),
    fixed(heartbeatsPerSecond, 1),
    fixed(heartbeatCpuMs, 3),
    fixed(heartbeatMsPerStep, 4),
  ];
  return `${tableRow(columns, cells)}\n`;
}

export function renderProtocolBound({ bound: { ms, workers, protocolMsPerStep, met } }: ProtocolBenchReport): string {
  const whom = `${workers} worker${workers === 1 ? '' : 's'}`;
  return `\ncommit and heartbeats at ${whom}: ${fixed(protocolMsPerStep, 3)} ms a step; at most ${ms} ms: ${met ? 'met' : 'not met'}\n`;
}
