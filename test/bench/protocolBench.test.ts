import { expect, it } from 'vitest';
import { renderProtocolBound, renderProtocolHead, renderProtocolRow } from '../../bench/protocol/protocolBench.ts';

it('shows what the protocol costs, and whether that is little enough', () => {
  const result = {
    name: 'protocol' as const,
    ...{
      workers: 4,
      encrypted: true,
      commitMedianMs: 0.6254,
      commitP95Ms: 1.974,
      stepMedianMs: 2.53,
      stepP95Ms: 7.73,
    },
    stepsPerSecond: 302.4,
    coordinatorCpuMs: 1.1094,
    heartbeatsPerSecond: 4,
    heartbeatCpuMs: 0.1151,
    heartbeatMsPerStep: 0.00116,
    protocolMsPerStep: 0.62656,
  };
  const lines = renderProtocolHead({ engine: 'native', steps: 1000, cores: 2 }) + renderProtocolRow(result);
  expect(lines.replaceAll(/ +/g, ' ')).toBe(
    [
      'control protocol, 2 cores, 1000 steps of a model that costs next to nothing on native',
      '',
      'workers sockets commit ms p95 step ms p95 steps/s coordinator CPU ms heartbeats/s CPU ms each ms a step',
      ' 4 encrypted 0.625 1.974 2.53 7.73 302 1.109 4.0 0.115 0.0012',
      '',
    ].join('\n'),
  );
  const report = { machine: { cores: 2 }, steps: 1000, engine: 'native', results: [result] };
  const bound = { ms: 1, workers: 4, protocolMsPerStep: 0.62656, met: true };
  expect(renderProtocolBound({ ...report, bound })).toBe(
    '\ncommit and heartbeats at 4 workers: 0.627 ms a step; at most 1 ms: met\n',
  );
  const missed = { ...bound, workers: 1, protocolMsPerStep: 1.5, met: false };
  expect(renderProtocolBound({ ...report, bound: missed })).toContain(
    'at 1 worker: 1.500 ms a step; at most 1 ms: not met',
  );
});
