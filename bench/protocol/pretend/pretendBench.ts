/**
 * What many workers cost their coordinator (pretendRun.ts), by their number.
 *
 * - **A step**: the processor time of the coordinator's process, ZeroMQ's thread and encryption included, and the time from the last
 *   `reduced` that a worker sent to the last `commit` that one received. All workers report at the same moment, as after a ring.
 * - **A heartbeat**: processor time for each, ticks and waking up included, while nothing else happens.
 * - **A loss**: a process with up to 64 workers is killed during a step. Processor time until the others train again and half a second has passed;
 *   `terms` is how many memberships the run needed.
 * - **A resume**: 64 workers without a state join a run that resumes from a checkpoint. What the coordinator sends until they train.
 */
import { availableParallelism } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { median, quantile } from '../../../src/base/statistics.ts';
import { PretendRun, type PretendRunOptions } from './pretendRun.ts';

export interface PretendBenchOptions {
  /** Numbers of workers. */
  readonly workers: readonly number[];
  /** Number of workers that share the agent of their host; 0: each has its own connection. */
  readonly hostWorkers: number;
  readonly steps: number;
  /** Number of tokens of a worker in a step. */
  readonly tokens: number;
  readonly stateMegabytes: number;
  readonly onWarning: (message: string) => void;
}

/** Processor times are those of the coordinator's process. */
export interface PretendResult {
  readonly workers: number;
  /** Until all workers train, from the start of the run. */
  readonly formCpuMs: number;
  readonly stepCpuMs: number;
  readonly workerCpuMs: number;
  readonly commitMedianMs: number;
  readonly commitP95Ms: number;
  /** What the coordinator sends in a step, and what it writes. */
  readonly messages: number;
  readonly sentBytes: number;
  readonly metricsBytes: number;
  readonly journalBytes: number;
  readonly heartbeatCpuMs: number;
  /** Part of a core that all heartbeats take at the default interval. */
  readonly heartbeatShare: number;
  readonly lost: number;
  readonly terms: number;
  readonly lossCpuMs: number;
  readonly lossMs: number;
}

export interface ResumeResult {
  readonly workers: number;
  readonly stateBytes: number;
  readonly sentBytes: number;
  readonly cpuMs: number;
  readonly ms: number;
}

export interface PretendReport {
  readonly machine: { readonly cores: number };
  readonly steps: number;
  readonly hostWorkers: number;
  readonly tokens: number;
  readonly results: readonly PretendResult[];
  readonly resume: ResumeResult;
}

export interface PretendListener {
  started?(): void;
  measured?(result: PretendResult): void;
}

const warmUpSteps = 10;
/** The end of a step on the coordinator: nothing of it is left after this. */
const quietMs = 10;
const heartbeatsMs = 2_000;
const afterLossMs = 500;
const resumingMost = 64;

/** @throws PeerError if a run fails */
export async function runPretendBench(
  { workers: counts, hostWorkers, steps, tokens, stateMegabytes, onWarning }: PretendBenchOptions,
  listener: PretendListener = {},
): Promise<PretendReport> {
  listener.started?.();
  const results: PretendResult[] = [];
  for (const workers of counts) {
    const result = await measure({ workers, hostWorkers, tokens, onWarning }, steps);
    results.push(result);
    listener.measured?.(result);
  }
  const workers = Math.min(resumingMost, Math.max(...counts));
  const resume = await measureResume({ workers, hostWorkers, tokens, stateBytes: stateMegabytes * 1e6, onWarning });
  return { machine: { cores: availableParallelism() }, steps, hostWorkers, tokens, results, resume };
}

async function measure(options: PretendRunOptions, steps: number): Promise<PretendResult> {
  const { workers } = options;
  const formCpu = cpuTimer();
  return await PretendRun.with(options, async (run) => {
    await run.formed();
    const formCpuMs = formCpu();
    await pause(quietMs);
    for (let i = 0; i < warmUpSteps; i++) await quietStep(run);
    const [metricsBefore, journalBefore] = [run.bytesIn('metrics.jsonl'), run.bytesIn('journal.jsonl')];
    const before = run.sent;
    const stepCpu = cpuTimer();
    const commitMs: number[] = [];
    for (let i = 0; i < steps; i++) commitMs.push(await quietStep(run));
    const stepCpuMs = stepCpu() / steps;
    const after = run.sent;
    const heartbeatCpuMs = await timeHeartbeats(run, workers);
    return {
      workers,
      formCpuMs,
      stepCpuMs,
      workerCpuMs: stepCpuMs / workers,
      commitMedianMs: median(commitMs),
      commitP95Ms: quantile(commitMs, 0.95),
      messages: (after.messages - before.messages) / steps,
      sentBytes: (after.bytes - before.bytes) / steps,
      metricsBytes: (run.bytesIn('metrics.jsonl') - metricsBefore) / steps,
      journalBytes: (run.bytesIn('journal.jsonl') - journalBefore) / steps,
      heartbeatCpuMs,
      heartbeatShare: (heartbeatCpuMs * workers) / run.heartbeatIntervalMs,
      ...(await timeLoss(run)),
    };
  });
}

async function quietStep(run: PretendRun): Promise<number> {
  const commitMs = await run.step();
  await pause(quietMs);
  return commitMs;
}

/** Sends about a thousand heartbeats a second, for any number of workers. @returns the processor time of one */
async function timeHeartbeats({ processes }: PretendRun, workers: number): Promise<number> {
  const intervalMs = Math.max(workers, 10);
  processes.beat(intervalMs);
  await pause(intervalMs);
  const cpu = cpuTimer();
  const fromMs = performance.now();
  await pause(heartbeatsMs);
  return cpu() / ((workers / intervalMs) * (performance.now() - fromMs));
}

async function timeLoss(run: PretendRun) {
  const { processes, term } = run;
  processes.go(run.nextStep, processes.count - 1);
  await pause(quietMs);
  const cpu = cpuTimer();
  const fromMs = performance.now();
  const lost = processes.loseLast();
  await run.formed(term);
  const lossMs = performance.now() - fromMs;
  await pause(afterLossMs);
  const lossCpuMs = cpu();
  const terms = run.term - term;
  await run.step();
  return { lost, terms, lossCpuMs, lossMs };
}

async function measureResume(options: PretendRunOptions): Promise<ResumeResult> {
  const cpu = cpuTimer();
  const fromMs = performance.now();
  return await PretendRun.with(options, async (run) => {
    await run.formed();
    const { workers } = options;
    return {
      workers,
      stateBytes: run.stateBytes,
      sentBytes: run.sent.bytes,
      cpuMs: cpu(),
      ms: performance.now() - fromMs,
    };
  });
}

/** Measures the processor time of this process from now on, in milliseconds. */
function cpuTimer(): () => number {
  const from = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(from);
    return (user + system) / 1_000;
  };
}
