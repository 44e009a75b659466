/** A process with many pretended workers (pretendWorker.ts), each with a connection of its own. pretendProcesses.ts forks it and directs it. */
import * as zmq from 'zeromq';
import { messageOf } from '../../../src/base/errors.ts';
import type { Transport } from '../../../src/comm/link.ts';
import { zmqTransport } from '../../../src/comm/zmqLink.ts';
import { HostAgent } from '../../../src/worker/hostAgent.ts';
import type { FromPretended, PretendArguments, ToPretended } from './pretendProcesses.ts';
import { PretendWorker } from './pretendWorker.ts';

/** Connections that are opened at the same time: more would only time out. */
const openingMost = 32;

// Each connection has three sockets, its monitor's included, and the default is a thousand.
zmq.context.maxSockets = 16_384;

const workers: PretendWorker[] = [];
let reported = { step: 0, reducedAtMs: 0, committed: 0 };
let wantedStep = 0;

process.on('disconnect', () => process.exit(0));
process.on('message', (message: ToPretended) => {
  if (message.kind === 'join') void join(message).catch(fail);
  else if (message.kind === 'go') {
    wantedStep = message.step;
    for (const worker of workers) worker.reduce(message.step);
  } else beat(message.intervalMs);
});

function tell(message: FromPretended): void {
  process.send?.(message);
}

function fail(error: unknown): void {
  tell({ kind: 'failed', message: messageOf(error) });
}

async function join(own: PretendArguments): Promise<void> {
  const { address, keys, names, hostWorkers, tensors, stateBytes, heartbeatIntervalMs } = own;
  const transport = zmqTransport({ keys });
  const left = [...names];
  const hosts = Array.from({ length: Math.ceil(names.length / (hostWorkers || names.length)) }, (_, i) => {
    return hostWorkers > 0 ? throughAgent(transport, address, `agent.${names[i * hostWorkers]}`) : transport;
  });
  const openers = Array.from({ length: openingMost }, async () => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      const host = `host-of-${names[0]}`;
      const who = { name, host, token: keys?.token, tensors, stateBytes };
      const place = hosts[hostWorkers > 0 ? Math.floor(names.indexOf(name) / hostWorkers) : 0] ?? transport;
      const told = { onReduced, onCommit, onFailed: fail };
      const worker = await PretendWorker.join({ transport: place, address, ...who, ...told });
      workers.push(worker);
      worker.beat(heartbeatIntervalMs, heartbeatIntervalMs * Math.random());
      if (wantedStep > 0) worker.reduce(wantedStep);
    }
  });
  await Promise.all(openers);
}

/** The workers of one host; its agent is in this process, too. */
function throughAgent(transport: Transport, coordinatorAddress: string, name: string): Transport {
  const agent = new HostAgent({ transport, coordinatorAddress, name });
  return { ...transport, connect: (_address, peerId, timeoutMs) => agent.connect(peerId, timeoutMs) };
}

function onReduced(step: number, atMs: number): void {
  if (step !== reported.step) reported = { step, reducedAtMs: atMs, committed: 0 };
  reported.reducedAtMs = atMs;
}

function onCommit(step: number, atMs: number): void {
  if (step !== reported.step || ++reported.committed < workers.length) return;
  tell({ kind: 'committed', step, reducedAtMs: reported.reducedAtMs, atMs });
}

/** Each worker has its own moment within the interval. */
function beat(intervalMs: number): void {
  for (const [i, worker] of workers.entries()) worker.beat(intervalMs, (intervalMs * i) / workers.length);
}
