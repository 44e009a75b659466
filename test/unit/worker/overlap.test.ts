/**
 * What a device with its own memory gains: gradients leave it while backward runs, and come back while the ring is running. The device
 * and the time are simulated (engines/timedEngine.ts), so that the figures are exact.
 */
import { MessageChannel } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeBuckets } from '../../../src/comm/buckets.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { engines } from '../../../src/engine/engines.ts';
import { createNativeEngine, type NativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { Trainer } from '../../../src/model/training.ts';
import { GradientExchange } from '../../../src/worker/gradientExchange.ts';
import { ReplicaTasks } from '../../../src/worker/replicaTasks.ts';
import { newState } from '../../../src/worker/stateStream.ts';
import { type DeviceTimes, timedEngine } from '../../engines/timedEngine.ts';
import { randomBatch, tinyConfig } from '../../parity/model/tinyModels.ts';
import { SimProcess, World } from '../../simulator/world.ts';

const config = { ...tinyConfig, nLayer: 6, nEmbd: 32, nHead: 2, dropout: 0 };
/** Backward takes most of the step, as the copies are to take as long as it does. */
const kernelMs = (kernel: string) => (kernel.endsWith('Backward') ? 1 : 0.2);

let native: NativeEngine;
beforeEach(() => {
  native = createNativeEngine({ threads: 1 });
});
afterEach(() => native.dispose());

/** A trainer on a device that copies all gradients in `copyMs`, and its exchange. */
function makeWorker(copyMs: number) {
  const world = new World(1);
  const clock = new SimProcess(world, 'worker', 'host', 1);
  let length = Number.POSITIVE_INFINITY;
  const engine = timedEngine(native, clock, { kernelMs, copyMs: (n) => (copyMs * n) / length });
  const trainer = new Trainer(engine, config, { seed: 1 });
  const { grads, specs } = trainer.parameters;
  length = grads.length;
  const plan = makeBuckets({
    offsets: grads.offsets,
    sizes: specs.map(({ size }) => size),
    length,
    bucketBytesMax: 16 * 1024,
  });
  const readyAtMs: number[] = [];
  const onReady = (_: number, bucket: number) => {
    readyAtMs[bucket] = world.nowMs;
  };
  const exchange = new GradientExchange({ engine, group: grads, plan, onReady });
  /** Runs `work` and all that follows. @returns the time that it took */
  const timed = async (work: () => Promise<unknown>): Promise<number> => {
    const startMs = world.nowMs;
    let endMs: number | undefined;
    void clock.after(0, () => {
      void work().then(() => {
        endMs = world.nowMs;
      });
    });
    await world.run(
      () => endMs !== undefined,
      1e9,
      () => undefined,
    );
    return endMs! - startMs;
  };
  const step = async (onGradReady?: (index: number) => void) => {
    await exchange.begin(1);
    const batch = randomBatch(config, { seed: 2, batchSize: 1 });
    await trainer.microStep({ ...batch, lossScale: 1, ...(onGradReady && { onGradReady }) });
  };
  return { engine, clock, trainer, plan, exchange, readyAtMs, timed, step };
}

/** How long both passes take, and backward of it. */
async function computeTimes(): Promise<{ computeMs: number; backwardMs: number }> {
  const { engine, timed, step } = makeWorker(0);
  engine.timings!.start();
  const computeMs = await timed(() => step());
  let backwardMs = 0;
  await timed(async () => {
    for (const { kernel, ms } of await engine.timings!.take()) if (kernel.endsWith('Backward')) backwardMs += ms;
  });
  return { computeMs, backwardMs };
}

describe('with a device that copies all gradients in the time of backward', () => {
  it('the way to the ring is hidden behind backward', async () => {
    const { computeMs, backwardMs } = await computeTimes();
    const { timed, step, exchange, plan, readyAtMs } = makeWorker(backwardMs);
    const bothMs = await timed(async () => {
      await step((index) => exchange.ready(index));
      await exchange.flush();
    });
    expect(plan.buckets.length).toBeGreaterThan(10);
    expect(readyAtMs.every((ms, bucket) => bucket === 0 || ms > readyAtMs[bucket - 1]!)).toBe(true);
    expect(bothMs).toBeGreaterThan(computeMs);
    expect(bothMs / computeMs).toBeLessThan(1.15);
    // It would show: one after the other takes much longer.
    expect((computeMs + backwardMs) / computeMs).toBeGreaterThan(1.5);
  });

  it('the way back is hidden behind the ring', async () => {
    const { backwardMs: ringMs } = await computeTimes();
    const { timed, step, exchange, plan, trainer, clock } = makeWorker(ringMs);
    await timed(async () => {
      await step((index) => exchange.ready(index));
      await exchange.flush();
    });
    const bothMs = await timed(async () => {
      for (const bucket of plan.buckets.keys()) {
        clock.after((ringMs * (bucket + 1)) / plan.buckets.length, () => exchange.takeBack(1, bucket));
      }
      await exchange.whenBack();
      await trainer.gradNorm();
    });
    expect(bothMs).toBeGreaterThan(ringMs);
    expect(bothMs / ringMs).toBeLessThan(1.15);
  });
});

it('a step after one that was given up waits until the device has read what came back of that one', async () => {
  const allMs = 1_000;
  const { timed, step, exchange, plan } = makeWorker(allMs);
  await timed(async () => {
    await step((index) => exchange.ready(index));
    await exchange.flush();
  });
  const last = plan.buckets.length - 1;
  const { start, end } = plan.buckets[last]!;
  const waitMs = await timed(() => {
    exchange.takeBack(1, last);
    const begun = exchange.begin(2);
    exchange.takeBack(1, 0); // too late: it is of the former one
    return begun;
  });
  expect(waitMs).toBeCloseTo((allMs * (end - start)) / plan.buckets.at(-1)!.end);
  expect(await timed(() => exchange.begin(3))).toBe(0);
});

/** The tasks of a worker, built on a simulated device, and the milliseconds that something takes there. */
async function makeTasks(times: DeviceTimes, microBatches: number) {
  const world = new World(1);
  const clock = new SimProcess(world, 'worker', 'host', 1);
  const start = async () => timedEngine(native, clock, times);
  const tasks = new ReplicaTasks({ native: { ...engines.native, start } });
  const config = configSchema.parse({
    model: { blockSize: 8, nLayer: 1, nHead: 2, nEmbd: 8, dropout: 0 },
    train: { globalBatchSize: microBatches, microBatchSize: 1 },
    engine: { name: 'native' },
  });
  const { port1, port2 } = new MessageChannel();
  const shared = { vocabSize: 16, objective: 'next-token', threads: 1, localIndex: 0, trace: false };
  const wanted = Int32Array.of(1, 0);
  const { blocks } = await tasks.build({ config, ...shared, gradientPort: port2, wanted });
  const timed = async (work: () => Promise<unknown>): Promise<number> => {
    const startMs = world.nowMs;
    let endMs: number | undefined;
    clock.after(0, () => {
      void work().then(() => {
        endMs = world.nowMs;
      });
    });
    await world.run(
      () => endMs !== undefined,
      1e9,
      () => undefined,
    );
    return endMs! - startMs;
  };
  const step = (sampleCount: number) => {
    const numbers = { shape: [8], data: new Int32Array(8 * sampleCount) };
    const batch = { sampleCount, arrays: { tokens: numbers, targets: numbers } };
    return tasks.step({ attempt: 1, step: 1, sampleFrom: 0, batch, globalWeight: 1, worldSize: 1, trace: false });
  };
  return { tasks, blocks, timed, step, close: () => port1.close() };
}

it('the state of a checkpoint leaves the device while the next step is computed', async () => {
  let stateMs = 0;
  let length = Number.POSITIVE_INFINITY;
  const copyMs = (numbers: number) => (numbers === length ? stateMs / 3 : 0);
  const { tasks, blocks, timed, step, close } = await makeTasks({ kernelMs: () => 1, copyMs }, 4);
  const state = newState(blocks);
  const stepMs = await timed(() => step(4));
  [stateMs, length] = [stepMs, blocks[0]!.length];
  const exportMs = await timed(() => tasks.exportState({ state }));
  const bothMs = await timed(() => Promise.all([tasks.exportState({ state }), step(4)]));
  close();
  expect(exportMs).toBeCloseTo(stepMs);
  expect(bothMs / stepMs).toBeLessThan(1.15);
});

it('the device computes the next microbatch while the host reads the losses of the one before', async () => {
  const [answerMs, microBatches] = [20, 8];
  const times = { kernelMs: () => 1, copyMs: () => 0, answerMs };
  const { timed, step, close } = await makeTasks(times, microBatches);
  const one = await timed(() => step(1));
  const all = await timed(() => step(microBatches));
  close();
  // The host waits for its answer at the end, and not after each.
  expect(all).toBeLessThan(microBatches * (one - answerMs) + 2 * answerMs);
});
