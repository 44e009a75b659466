/** A run with engines of a test: the real coordinator, agents and ring on one thread, over in-memory links. */
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { memoryTransport } from '../../src/comm/memoryLink.ts';
import type { Config } from '../../src/config/configTypes.ts';
import { Coordinator } from '../../src/coordinator/coordinator.ts';
import { allListeners } from '../../src/coordinator/coordinatorOptions.ts';
import type { Dataset } from '../../src/data/dataset.ts';
import { textRunData } from '../../src/data/textRunData.ts';
import type { EngineTable } from '../../src/engine/registry.ts';
import type { LoggedEvent } from '../../src/records/eventsLog.ts';
import type { StepMetrics } from '../../src/records/metricsLog.ts';
import { nextTokenWindows } from '../../src/task/nextToken.ts';
import { startInProcess, type WorkerExit } from '../../src/worker/spawn.ts';
import { InProcessReplica } from './inProcessReplica.ts';

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

interface InMemoryOptions {
  /** Told each step that is done. */
  readonly onStep?: (step: number, coordinator: Coordinator) => void;
  /** Told of everything that would be written in the directory of the run. */
  readonly onWrite?: (what: string) => void;
  readonly onEvent?: (event: LoggedEvent) => void;
  /** Workers that another program started, as before a takeover. */
  readonly survivors?: readonly string[] | undefined;
}

/**
 * What `train.workers` workers compute, what they compute on, and what they hold at the end.
 * @param table what all workers find, or what each finds, in the order in which they start
 * @throws what the run fails with
 */
export async function runInMemory(
  config: Config,
  table: EngineTable | readonly EngineTable[],
  { onStep, onWrite, onEvent, survivors = [] }: InMemoryOptions = {},
) {
  const transport = memoryTransport();
  const server = await transport.listen('memory://0');
  const lines: StepMetrics[] = [];
  const validation: number[] = [];
  const engines = new Map<string, string>();
  const checkpoints = new Map<number, string>();
  const count = config.train.workers;
  const localWorkers = Array.from({ length: count }, (_, i) => `local-${i}`);
  const start = {
    coordinatorAddress: server.address,
    localWorkers,
    cores: count,
    flightFolder: tmpdir(),
    onExit: (exit: WorkerExit) => coordinator.workerExited(exit),
  };
  const tables = Array.isArray(table) ? (table as readonly EngineTable[]) : undefined;
  let started = 0;
  const tableOfNext = () => tables?.[started++] ?? (table as EngineTable);
  const startProgram = () => startInProcess(start, transport, () => new InProcessReplica(tableOfNext()));
  const [workers, before] = [startProgram(), startProgram()];
  const coordinator: Coordinator = new Coordinator({
    runId: 'memory',
    config,
    data: textRunData(dataset, config.model.blockSize),
    server,
    worldSize: count,
    minWorkers: count,
    localWorkers,
    restartsMax: 0,
    open: false,
    startWorker: (worker) => workers.start(worker),
    killWorker: () => {},
    store: {
      beginWrite: async ({ trainer: { step } }) => {
        const state = createHash('sha256');
        onWrite?.('checkpoint');
        return {
          write: async (bytes: Uint8Array) => void state.update(bytes),
          commit: async () => {
            onWrite?.('checkpoint');
            checkpoints.set(step, state.digest('hex'));
            return 'nowhere';
          },
          abort: async () => {},
        };
      },
      newestWhole: async () => undefined,
    },
    metrics: { append: () => onWrite?.('metrics'), rewind: () => onWrite?.('metrics'), flush: async () => {} },
    events: {
      append: (event) => {
        onWrite?.('events');
        onEvent?.(event);
      },
      flush: async () => {},
    },
    journal: { append: () => onWrite?.('journal'), flush: async () => {}, close: async () => {} },
    listener: allListeners([
      {
        started: (members) => {
          for (const { worker, prepared } of members) engines.set(worker, prepared!.engine);
        },
        step: (line) => {
          lines.push(line);
          onStep?.(line.step, coordinator);
        },
        evaluated: ({ valLoss }) => validation.push(valLoss),
      },
    ]),
  });
  for (const worker of localWorkers) (survivors.includes(worker) ? before : workers).start(worker);
  try {
    await coordinator.finished;
  } finally {
    await Promise.all([workers.ended(), before.ended()]);
    await coordinator.close();
    await server.close();
  }
  const steps = lines.map(({ step, loss, gradNorm }) => ({ step, loss, gradNorm }));
  return {
    engines: localWorkers.map((id) => engines.get(id)),
    results: { steps, validation, checkpoints },
  };
}
