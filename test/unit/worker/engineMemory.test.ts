/**
 * A run on a device with its own memory, whose kernels and copies end long after they were asked for, gives the bits of a run in the
 * host's memory: losses, norms and the state of the checkpoint, through the real coordinator, agents and ring.
 */
import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { memoryTransport } from '../../../src/comm/memoryLink.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { Coordinator } from '../../../src/coordinator/coordinator.ts';
import { allListeners } from '../../../src/coordinator/coordinatorOptions.ts';
import type { Dataset } from '../../../src/data/dataset.ts';
import type { EngineEntry } from '../../../src/engine/engineEntry.ts';
import type { StepMetrics } from '../../../src/records/metricsLog.ts';
import { nextTokenWindows } from '../../../src/task/nextToken.ts';
import { Agent } from '../../../src/worker/agent.ts';
import { InProcessReplica } from '../../engines/inProcessReplica.ts';
import { testEngines } from '../../engines/testEngines.ts';

const config = configSchema.parse({
  model: { blockSize: 16, nLayer: 2, nHead: 2, nEmbd: 16, dropout: 0.1 },
  train: { globalBatchSize: 8, microBatchSize: 2, maxSteps: 4, hashEverySteps: 1 },
  eval: { everySteps: 2 },
  sample: { maxTokens: 0 },
  engine: { name: 'native', threads: 1 },
  comm: { bucketBytesMax: 4096, chunkBytes: 1024 },
});
const tokens = Uint16Array.from({ length: 500 }, (_, i) => (i * i + (i >> 2)) % 64);
const dataset: Dataset = {
  tokenizer: { files: () => ({}) } as unknown as Dataset['tokenizer'],
  vocabSize: 64,
  train: tokens,
  corpora: [{ tokens: tokens.length, weight: 1 }],
  task: nextTokenWindows,
  val: tokens,
  description: 'numbered tokens',
  sha256: 'a'.repeat(64),
  tokenizerSha256: 'b'.repeat(64),
};

/** What two workers compute, and what they hold at the end. */
async function run(native: EngineEntry) {
  const transport = memoryTransport();
  const server = await transport.listen('memory://0');
  const lines: StepMetrics[] = [];
  const validation: number[] = [];
  const engineNames = new Set<string>();
  const state = createHash('sha256');
  const agents: Promise<unknown>[] = [];
  const localWorkers = ['local-0', 'local-1'];
  const startWorker = (id: string) => {
    const makeReplica = () => new InProcessReplica({ native });
    const { address: coordinatorAddress } = server;
    const work = Agent.work({ transport, coordinatorAddress, id, workersOnHost: 2, cores: 2, makeReplica });
    agents.push(
      work.then((failure) => {
        const description = failure === undefined ? 'has ended' : `failed: ${failure.message}`;
        const exit = { worker: id, pid: process.pid, description, clean: failure === undefined };
        coordinator.workerExited(failure === undefined ? exit : { ...exit, failure });
      }),
    );
  };
  const coordinator: Coordinator = new Coordinator({
    runId: 'memory',
    config,
    dataset,
    server,
    worldSize: 2,
    minWorkers: 2,
    localWorkers,
    restartsMax: 0,
    open: false,
    startWorker,
    killWorker: () => {},
    store: {
      beginWrite: async () => ({
        write: async (bytes: Uint8Array) => void state.update(bytes),
        commit: async () => 'nowhere',
        abort: async () => {},
      }),
      newestWhole: async () => undefined,
    },
    metrics: { append: () => {}, rewind: () => {}, flush: async () => {} },
    events: { append: () => {}, flush: async () => {} },
    journal: { append: () => {}, flush: async () => {}, close: async () => {} },
    listener: allListeners([
      {
        started: (members) => {
          for (const { prepared } of members) engineNames.add(prepared!.engine);
        },
        step: (line) => lines.push(line),
        evaluated: ({ valLoss }) => validation.push(valLoss),
      },
    ]),
  });
  for (const worker of localWorkers) startWorker(worker);
  try {
    await coordinator.finished;
  } finally {
    await Promise.all(agents);
    await coordinator.close();
    await server.close();
  }
  const steps = lines.map(({ step, loss, gradNorm }) => ({ step, loss, gradNorm }));
  return { engineNames: [...engineNames], results: { steps, validation, state: state.digest('hex') } };
}

it('gives the bits of the same run in the memory of the host', async () => {
  const { results } = await run(testEngines.native);
  const other = await run(testEngines.timed);
  expect(other.engineNames).toEqual([expect.stringMatching(/^timed \(native/)]);
  expect(results.steps).toHaveLength(config.train.maxSteps);
  expect(results.validation.every((loss) => loss > 1)).toBe(true);
  expect(other.results).toEqual(results);
}, 60_000);
