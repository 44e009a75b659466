/** Gradients reach the memory that the ring works on, and come back: in place where the device is the host, else by copies. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Engine } from '../../../src/engine/engine.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import type { TensorGroup } from '../../../src/engine/tensor.ts';
import { GradientExchange } from '../../../src/worker/gradientExchange.ts';

const shapes = [[3, 2], [5], [1]];

describe.each(['native', 'tfjs'] as const)('with the engine %s', (name) => {
  let engine: Engine;
  let group: TensorGroup;
  let exchange: GradientExchange;
  let told: [attempt: number, bucket: number][];

  beforeEach(async () => {
    engine = await createEngine({ name, deviceKind: name === 'tfjs' ? 'cpu' : 'auto', threads: 1 });
    group = engine.allocGroup(shapes);
    const { offsets, length } = group;
    const plan = {
      buckets: offsets.map((start, i) => ({ start, end: offsets[i + 1] ?? length })),
      bucketsOfTensor: offsets.map((_, i) => ({ first: i, last: i })),
    };
    told = [];
    exchange = new GradientExchange({ engine, group, plan, onReady: (...what) => told.push(what) });
  });
  afterEach(() => engine.dispose());

  const valuesOf = (index: number, base: number) =>
    Float32Array.from({ length: group.tensors[index]!.size }, (_, i) => base + 100 * index + i);
  const slice = (index: number) =>
    exchange.shared.subarray(group.offsets[index]!, group.offsets[index]! + group.tensors[index]!.size);

  it('tells of each bucket once a step, in the order in which they became final, when the ring can read it', async () => {
    await exchange.begin(3);
    for (const index of [2, 0, 1]) {
      engine.upload(group.tensors[index]!, valuesOf(index, 1));
      exchange.ready(index);
      // Their kernels run within the calls, and so do the copies: nothing waits for the end of backward.
      expect(told.at(-1)).toEqual([3, index]);
      expect(slice(index)).toEqual(valuesOf(index, 1));
    }
    await exchange.flush();
    expect(told).toEqual([
      [3, 2],
      [3, 0],
      [3, 1],
    ]);
    await exchange.begin(7);
    exchange.ready(1);
    await exchange.flush();
    expect(told.slice(3)).toEqual([[7, 1]]);
  });

  it('brings the sums of the ring back to the device, bucket by bucket', async () => {
    await exchange.begin(1);
    for (const index of shapes.keys()) {
      engine.upload(group.tensors[index]!, valuesOf(index, 1));
      exchange.ready(index);
    }
    await exchange.flush();
    let isBack = engine.isHost;
    const back = exchange.whenBack().then(() => {
      isBack = true;
    });
    for (const index of [1, 0, 2]) {
      expect(isBack).toBe(engine.isHost);
      slice(index).set(valuesOf(index, 7_000));
      exchange.takeBack(0, index); // of a step that was given up
      exchange.takeBack(1, index);
    }
    await back;
    for (const index of shapes.keys()) {
      const read = new Float32Array(group.tensors[index]!.size);
      await engine.download(group.tensors[index]!, read);
      expect(read).toEqual(valuesOf(index, 7_000));
    }
  });

  it('is in shared memory, which the main thread reduces in place', () => {
    expect(exchange.shared.buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(exchange.shared).toHaveLength(group.length);
  });
});
