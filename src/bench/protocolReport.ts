/** What `launch bench protocol` prints for people, row by row. */
import type { ProtocolBenchReport, ProtocolBenchResult } from './protocolBench.ts';
import { fixed, numberColumn, tableHeading, tableRow, textColumn } from './table.ts';

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
