/** The table of `npm run bench -- protocol --pretend`. */
import { availableParallelism } from 'node:os';
import { fixed, numberColumn, tableHeading, tableRow } from '../../../src/bench/table.ts';
import type { PretendBenchOptions, PretendResult, ResumeResult } from './pretendBench.ts';

const columns = [
  numberColumn('workers'),
  numberColumn('step CPU ms', 5),
  numberColumn('a worker', 5),
  numberColumn('commit ms', 6),
  numberColumn('p95', 6),
  numberColumn('messages', 5),
  numberColumn('sent KB', 6),
  numberColumn('metrics KB', 5),
  numberColumn('heartbeat CPU ms', 5),
  numberColumn('of a core'),
  numberColumn('lost'),
  numberColumn('terms'),
  numberColumn('CPU ms', 6),
  numberColumn('ms', 6),
];

export function renderPretendHead({ steps, hostWorkers, tokens }: PretendBenchOptions): string {
  const cores = availableParallelism();
  const hosts = hostWorkers > 0 ? `an agent for each ${hostWorkers}` : 'a connection for each';
  return (
    `coordinator of pretended workers, ${cores} cores, encrypted, ${hosts}, ${steps} steps, ${tokens} tokens a worker and step\n\n` +
    `${tableHeading(columns)}\n`
  );
}

export function renderPretendRow(result: PretendResult): string {
  const { workers, stepCpuMs, workerCpuMs, commitMedianMs, commitP95Ms, messages, sentBytes, metricsBytes } = result;
  const { heartbeatCpuMs, heartbeatShare, lost, terms, lossCpuMs, lossMs } = result;
  const cells = [
    String(workers),
    fixed(stepCpuMs, 2),
    fixed(workerCpuMs, 4),
    fixed(commitMedianMs, 1),
    fixed(commitP95Ms, 1),
    fixed(messages, 0),
    fixed(sentBytes / 1e3, 1),
    fixed(metricsBytes / 1e3, 1),
    fixed(heartbeatCpuMs, 4),
    `${fixed(100 * heartbeatShare, 1)} %`,
    String(lost),
    String(terms),
    fixed(lossCpuMs, 0),
    fixed(lossMs, 0),
  ];
  return `${tableRow(columns, cells)}\n`;
}

export function renderResume({ workers, stateBytes, sentBytes, cpuMs, ms }: ResumeResult): string {
  const times = fixed(sentBytes / stateBytes, 2);
  return (
    `\n${workers} workers resume a state of ${fixed(stateBytes / 1e6, 1)} MB: the coordinator sends ${fixed(sentBytes / 1e6, 1)} MB ` +
    `(${times} times the state) in ${fixed(ms / 1_000, 1)} s, ${fixed(cpuMs, 0)} ms CPU\n`
  );
}
