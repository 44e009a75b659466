/**
 * A mean loss is over all targets that count, however these are divided: rows with 1 and with 99 targets, in microbatches of every size,
 * on any number of workers, through the real coordinator and real agents. The reference is the complete batch at once, in float64.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../src/architecture/registry.ts';
import { memoryTransport } from '../../src/comm/memoryLink.ts';
import type { ConfigInput } from '../../src/config/configTypes.ts';
import { modelOf } from '../../src/config/groups/model.ts';
import { configSchema } from '../../src/config/schema.ts';
import { Coordinator } from '../../src/coordinator/coordinator.ts';
import { allListeners } from '../../src/coordinator/coordinatorOptions.ts';
import type { Dataset } from '../../src/data/dataset.ts';
import { exampleRunData } from '../../src/data/examples/exampleRunData.ts';
import { rowTask } from '../../src/data/examples/exampleSamples.ts';
import type { ExampleSet } from '../../src/data/examples/exampleSet.ts';
import { packExamples } from '../../src/data/examples/packExamples.ts';
import type { RunData } from '../../src/data/runData.ts';
import { sampleStart } from '../../src/data/sampleOrder.ts';
import type { WindowTask } from '../../src/data/sampler.ts';
import { textRunData } from '../../src/data/textRunData.ts';
import { openTemplate } from '../../src/data/tokenizers/chatTemplate.ts';
import { createTokenizer } from '../../src/data/tokenizers/openTokenizer.ts';
import { Tape } from '../../src/model/tape.ts';
import { Trainer } from '../../src/model/training.ts';
import type { StepMetrics } from '../../src/records/metricsLog.ts';
import { nextTokenWindows } from '../../src/task/nextToken.ts';
import { sftTask } from '../../src/task/sft.ts';
import type { Sample } from '../../src/task/task.ts';
import { textTask } from '../../src/task/textRows.ts';
import { Agent } from '../../src/worker/agent.ts';
import type { BuildResult } from '../../src/worker/replicaProtocol.ts';
import { ReplicaThread } from '../../src/worker/replicaThread.ts';
import { Float64Engine, numbers } from '../parity/model/float64Engine.ts';

const [B, T, V, seed] = [8, 100, 128, 5];
/** Number of tokens at which windows begin. Each occurs once, so that its first token identifies a window. */
const starts = 64;
const train = Uint16Array.from({ length: starts + T }, (_, i) => (i < starts ? i : (i * i + (i >> 2)) % V));
const corpora = [{ tokens: train.length, weight: 1 }];

type ModelInput = NonNullable<ConfigInput['model']>;
const modelKeys: ModelInput = { blockSize: T, nLayer: 2, nHead: 2, nEmbd: 16 };
const configOf = (
  microBatchSize: number,
  { evalEverySteps = 0, model = modelKeys }: { evalEverySteps?: number | undefined; model?: ModelInput } = {},
) =>
  configSchema.parse({
    model,
    train: { globalBatchSize: B, microBatchSize, maxSteps: 1, seed },
    eval: { everySteps: evalEverySteps },
    sample: { maxTokens: 0 },
    engine: { name: 'native', threads: 1 },
    comm: { bucketBytesMax: 2 ** 14, chunkBytes: 2 ** 12 },
  });
const modelConfig = modelOf(configOf(1).model, V);

/** The first token of each sample of the first step. */
const firstTokens = Array.from({ length: B }, (_, index) => {
  return sampleStart(corpora, { seed, step: 0, index, globalBatchSize: B, blockSize: T, sampler: 'random' });
});

/** Number of targets in each sample, spread over its row. */
function isKept(position: number, targets: number): boolean {
  return Math.floor(((position + 1) * targets) / T) > Math.floor((position * targets) / T);
}

/** Windows that give the samples of the first step these numbers of targets. */
function maskedWindows(kept: readonly number[]): WindowTask {
  return {
    ...nextTokenWindows,
    name: 'windows with masked targets',
    encode(window) {
      const { tokens, targets } = nextTokenWindows.encode(window) as { tokens: Uint16Array; targets: Uint16Array };
      const count = kept[firstTokens.indexOf(window[0]!)] ?? T;
      return { tokens, targets: Array.from(targets, (target, i) => (isKept(i, count) ? target : -1)) };
    },
  };
}

function datasetOf(task: WindowTask): Dataset {
  return {
    tokenizer: { files: () => ({}) } as unknown as Dataset['tokenizer'],
    vocabSize: V,
    train,
    corpora,
    task,
    val: train,
    description: 'numbered tokens',
    sha256: '',
    tokenizerSha256: '',
  };
}

/** A replica whose reduced gradients are looked at before the update. */
class ObservedReplica extends ReplicaThread {
  readonly #onReduced: (gradients: readonly Float32Array[]) => void;
  #built: BuildResult | undefined;

  constructor(onReduced: (gradients: readonly Float32Array[]) => void) {
    super({ url: new URL('../../dist/worker/replicaThreadMain.js', import.meta.url) });
    this.#onReduced = onReduced;
  }

  override async build(options: Parameters<ReplicaThread['build']>[0]): Promise<BuildResult> {
    this.#built = await super.build(options);
    return this.#built;
  }

  override async gradNorm(): Promise<number> {
    const norm = await super.gradNorm();
    const { gradients, blocks } = this.#built!;
    const { offsets, sizes } = blocks[0]!; // laid out as the gradients
    this.#onReduced(sizes.map((size, i) => gradients.slice(offsets[i]!, offsets[i]! + size)));
    return norm;
  }
}

interface Division {
  readonly workers: number;
  readonly microBatchSize: number;
  readonly evalEverySteps?: number;
}

/** One step of a run: its line in the metrics, and the summed gradients of each rank. */
const trainOneStep = (task: WindowTask, division: Division) =>
  trainStepOn(textRunData(datasetOf(task), T), modelKeys, division);

async function trainStepOn(data: RunData, keys: ModelInput, { workers, microBatchSize, evalEverySteps }: Division) {
  const transport = memoryTransport();
  const server = await transport.listen('memory://0');
  const lines: StepMetrics[] = [];
  const gradients: (readonly Float32Array[])[] = [];
  const agents: Promise<unknown>[] = [];
  const localWorkers = Array.from({ length: workers }, (_, i) => `local-${i}`);
  const startWorker = (id: string) => {
    const makeReplica = () => new ObservedReplica((reduced) => gradients.push(reduced));
    const { address: coordinatorAddress } = server;
    const work = Agent.work({
      transport,
      coordinatorAddress,
      id,
      workersOnHost: workers,
      localIndex: 0,
      cores: 1,
      makeReplica,
    });
    agents.push(
      work.then((failure) => {
        const description = failure === undefined ? 'has ended' : `failed: ${failure.message}`;
        const exit = { worker: id, pid: process.pid, description, clean: failure === undefined };
        coordinator.workerExited(failure === undefined ? exit : { ...exit, failure });
      }),
    );
  };
  const coordinator: Coordinator = new Coordinator({
    runId: 'masked',
    config: configOf(microBatchSize, { evalEverySteps, model: keys }),
    data,
    server,
    worldSize: workers,
    minWorkers: workers,
    localWorkers,
    restartsMax: 0,
    open: false,
    startWorker,
    killWorker: () => {},
    // What is written down is not looked at here.
    store: {
      beginWrite: async () => ({ write: async () => {}, commit: async () => 'nowhere', abort: async () => {} }),
      newestWhole: async () => undefined,
    },
    metrics: { append: () => {}, rewind: () => {}, flush: async () => {} },
    events: { append: () => {}, flush: async () => {} },
    journal: { append: () => {}, flush: async () => {}, close: async () => {} },
    listener: allListeners([{ step: (line) => lines.push(line) }]),
  });
  for (const worker of localWorkers) startWorker(worker);
  try {
    await coordinator.finished;
  } finally {
    await Promise.all(agents);
    await coordinator.close();
    await server.close();
  }
  return { line: lines[0]!, gradients };
}

interface Expected {
  readonly loss: number;
  readonly gradients: readonly Float64Array[];
}

/** cross_entropy(sum) / targets in float64: the loss by hand from the logits, its gradient from the tape on the complete batch. */
async function expectedOf(kept: readonly number[]): Promise<Expected> {
  const engine = new Float64Engine();
  const trainer = new Trainer(engine, modelConfig, { seed });
  const rows = firstTokens.map((start) => train.subarray(start, start + T + 1));
  const tokens = Int32Array.from(rows.flatMap((row) => [...row.subarray(0, T)]));
  const targets = Int32Array.from(
    rows.flatMap((row, i) => [...row.subarray(1)].map((target, t) => (isKept(t, kept[i]!) ? target : -1))),
  );
  const count = kept.reduce((sum, one) => sum + one, 0);

  const tape = new Tape(engine);
  const logits = numbers(trainer.model.forward(tape, tape.upload(tokens, [B, T])).value);
  let lossSum = 0;
  for (const [n, target] of targets.entries()) {
    if (target < 0) continue;
    const scores = logits.subarray(n * V, (n + 1) * V);
    const largest = scores.reduce((a, b) => Math.max(a, b));
    lossSum += largest + Math.log(scores.reduce((sum, x) => sum + Math.exp(x - largest), 0)) - scores[target]!;
  }
  tape.discard();

  const pass = new Tape(engine);
  const [ids, labels] = [pass.upload(tokens, [B, T]), pass.upload(targets, [B * T])];
  trainer.model.losses(pass, ids, labels, { lossScale: 1 / count });
  pass.backward();
  const gradients = trainer.parameters.grads.tensors.map((tensor) => Float64Array.from(numbers(tensor)));
  pass.discard();
  return { loss: lossSum / count, gradients };
}

/** The largest relative error of any tensor, by its norm. */
function gradientError(actual: readonly Float32Array[], expected: readonly Float64Array[]): number {
  expect(actual.map(({ length }) => length)).toEqual(expected.map(({ length }) => length));
  return Math.max(
    ...expected.map((tensor, i) => {
      const norm = Math.hypot(...tensor);
      return Math.hypot(...tensor.map((value, j) => value - actual[i]![j]!)) / norm;
    }),
  );
}

const relative = (actual: number, expected: number) => Math.abs(actual / expected - 1);

describe('rows with 1 and with 99 targets', () => {
  const kept = [1, 99, 99, 1, 1, 1, 99, 1];
  let expected: Expected;
  beforeAll(async () => {
    expect(new Set(firstTokens).size).toBe(B);
    expected = await expectedOf(kept);
  });

  it.each([1, 2, 4].flatMap((workers) => [1, 2, 8].map((microBatchSize) => ({ workers, microBatchSize }))))(
    '$workers workers, microbatches of $microBatchSize: loss and gradients of the mean over all targets',
    async (division) => {
      const { line, gradients } = await trainOneStep(maskedWindows(kept), division);
      expect(relative(line.loss, expected.loss)).toBeLessThan(1e-6);
      expect(gradients).toHaveLength(division.workers);
      for (const ofRank of gradients) expect(gradientError(ofRank, expected.gradients)).toBeLessThan(1e-5);
    },
  );

  it('a mean of the means of ranks, or a mean over all positions, would be far off', async () => {
    const halves = [kept.map((count, i) => (i < B / 2 ? count : 0)), kept.map((count, i) => (i < B / 2 ? 0 : count))];
    const [first, second] = [await expectedOf(halves[0]!), await expectedOf(halves[1]!)];
    // Untrained, every target costs about as much: the gradients tell more.
    expect(relative((first.loss + second.loss) / 2, expected.loss)).toBeGreaterThan(1e-5);
    const ofRanks = first.gradients.map((tensor, i) =>
      Float32Array.from(tensor, (value, j) => (value + second.gradients[i]![j]!) / 2),
    );
    expect(gradientError(ofRanks, expected.gradients)).toBeGreaterThan(0.1);

    // What a step weighed before targets were counted: one for each position.
    const everyPosition: WindowTask = { ...maskedWindows(kept), weight: ({ sampleCount }) => sampleCount * T };
    const { gradients } = await trainOneStep(everyPosition, { workers: 2, microBatchSize: 2 });
    expect(gradientError(gradients[0]!, expected.gradients)).toBeGreaterThan(0.5);
  });
});

it('a rank whose share has no target adds nothing, and the others compute what they would without it', async () => {
  const kept = [0, 0, 0, 0, 1, 99, 3, 0];
  const expected = await expectedOf(kept);
  for (const workers of [1, 2, 4]) {
    const { line, gradients } = await trainOneStep(maskedWindows(kept), { workers, microBatchSize: 2 });
    expect(relative(line.loss, expected.loss)).toBeLessThan(1e-6);
    for (const ofRank of gradients) expect(gradientError(ofRank, expected.gradients)).toBeLessThan(1e-5);
  }
});

it('a step without a single target ends the run, and its number is said', async () => {
  const none = maskedWindows(Array.from({ length: B }, () => 0));
  await expect(trainOneStep(none, { workers: 2, microBatchSize: 2 })).rejects.toThrow(
    /step 1 has nothing to learn from: none of its 8 samples has a target/,
  );
});

it('an evaluation without a single target ends the run: its loss would be no number, or the best of all', async () => {
  // The validation split is the training split: its windows begin at 0 and at T.
  const masked = maskedWindows(Array.from({ length: B }, () => T));
  const encode: WindowTask['encode'] = (window) => {
    const sample = masked.encode(window);
    const isOfStep = firstTokens.includes(window[0]!) && window[0] !== 0 && window[0] !== T;
    return isOfStep ? sample : { ...sample, targets: Array.from(sample['targets']!, () => -1) };
  };
  const run = trainOneStep({ ...masked, encode }, { workers: 1, microBatchSize: 2, evalEverySteps: 1 });
  await expect(run).rejects.toThrow(/the validation data has nothing to measure after step 1/);
});

/** One row at a time in float64, neither padded nor packed: each row's sum of losses, and the gradients of it. */
async function sumsOfRows(samples: readonly Sample[], model: ModelConfig): Promise<Expected[]> {
  const trainer = new Trainer(new Float64Engine(), model, { seed });
  const rows: Expected[] = [];
  for (const { tokens, targets } of samples) {
    // The loss adds to the gradient of the head already.
    for (const tensor of trainer.parameters.grads.tensors) numbers(tensor).fill(0);
    const tape = new Tape(trainer.engine);
    const length = tokens!.length;
    const [ids, labels] = [
      tape.upload(Int32Array.from(tokens!), [1, length]),
      tape.upload(Int32Array.from(targets!), [length]),
    ];
    const losses = trainer.model.losses(tape, ids, labels, { lossScale: 1 });
    const loss = numbers(losses.value).reduce((a, b) => a + b, 0);
    tape.backward();
    rows.push({
      loss,
      gradients: trainer.parameters.grads.tensors.map((tensor) => Float64Array.from(numbers(tensor))),
    });
    tape.discard();
  }
  return rows;
}

/** The weighted sum of the rows. */
function weighted(rows: readonly Expected[], weightOf: (row: number) => number): Expected {
  return {
    loss: rows.reduce((sum, { loss }, row) => sum + weightOf(row) * loss, 0),
    gradients: rows[0]!.gradients.map((tensor, i) =>
      tensor.map((_, j) => rows.reduce((sum, { gradients }, row) => sum + weightOf(row) * gradients[i]![j]!, 0)),
    ),
  };
}

const letters = (length: number, from: number) =>
  Array.from({ length }, (_, i) => String.fromCharCode(97 + ((i * i + 7 * from + i) % 26))).join('');
/** Numbers of characters of what is learned, without the token that ends it. */
const short = [0, 3, 4, 5, 7];
const manyRows = Array.from({ length: 20 }, (_, i) => (i < B ? 98 : 1));

describe.each([
  { kind: 'sft', isPacked: false, divisions: [1, 2, 4].flatMap((workers) => [1, 2, 8].map((size) => [workers, size])) },
  { kind: 'lm', isPacked: false, divisions: [[1, 8], [2, 1], [4, 2]] }, // biome-ignore format: pairs
  { kind: 'sft', isPacked: true, divisions: [[1, 8], [2, 1], [2, 8], [4, 2]] }, // biome-ignore format: pairs
])('rows of $kind with few and with 99 targets, packed: $isPacked', ({ kind, isPacked, divisions }) => {
  const keys: ModelInput = { ...modelKeys, blockSize: 128 };
  let set: ExampleSet;
  let model: ModelConfig;
  let rows: Expected[];
  let targets: number[];
  let expected: Expected;
  beforeAll(async () => {
    const tokenizer = await createTokenizer('byte', '');
    const task =
      kind === 'lm'
        ? textTask({ tokenizer })
        : sftTask({ tokenizer, template: await openTemplate('plain', tokenizer, '.') });
    const { form, open } = rowTask(task as ReturnType<typeof textTask>);
    const lengths = isPacked
      ? manyRows
      : Array.from({ length: B }, (_, i) => (short.includes(i) ? 1 : kind === 'lm' ? 99 : 98));
    const train = lengths.map((length, i) => {
      const row =
        kind === 'lm'
          ? { text: letters(length, i) }
          : { prompt: letters(1 + (i % 9), i), completion: letters(length, i) };
      return open(row, `row ${i}`).sample;
    });
    const all = { form, tokenizer, labels: [], train, validation: train, description: '', sha256: '' };
    set = isPacked ? packExamples(all, 128) : all;
    expect(set.train).toHaveLength(B);
    targets = train.map((sample) => Array.from(sample['targets']!).filter((target) => target >= 0).length);
    expect([Math.min(...targets), Math.max(...targets)]).toEqual([kind === 'lm' ? 1 : 2, 99]);
    const data = exampleRunData(set, 0);
    model = modelOf(configOf(1, { model: keys }).model, data.vocabSize);
    rows = await sumsOfRows(train, model);
    const count = targets.reduce((a, b) => a + b, 0);
    expected = weighted(rows, () => 1 / count);
  });

  it.each(divisions.map(([workers, microBatchSize]) => ({ workers: workers!, microBatchSize: microBatchSize! })))(
    '$workers workers, microbatches of $microBatchSize: loss and gradients of the mean over all targets',
    async (division) => {
      const { line, gradients } = await trainStepOn(exampleRunData(set, 0), keys, division);
      expect(relative(line.loss, expected.loss)).toBeLessThan(1e-6);
      expect(gradients).toHaveLength(division.workers);
      for (const ofRank of gradients) expect(gradientError(ofRank, expected.gradients)).toBeLessThan(1e-5);
    },
  );

  it('a mean of the means of rows would be far off', () => {
    const ofRows = weighted(rows, (row) => 1 / (rows.length * targets[row]!));
    const gradients = ofRows.gradients.map((tensor) => Float32Array.from(tensor));
    expect(gradientError(gradients, expected.gradients)).toBeGreaterThan(0.1);
  });
});
