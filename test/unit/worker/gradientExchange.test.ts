/** Gradients reach the memory that the ring works on, and come back: in place where the device is the host, else by copies. */
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Engine, TensorGroup } from '../../../src/engine/engine.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { GradientExchange } from '../../../src/worker/gradientExchange.ts';

const shapes = [[3, 2], [5], [1]];

describe.each([
  ['native', true],
  ['tfjs', false],
] as const)('with the engine %s', (name, inPlace) => {
  let engine: Engine;
  let group: TensorGroup;
  let channel: MessageChannel;
  let exchange: GradientExchange;

  beforeEach(async () => {
    engine = await createEngine({ name, device: name === 'tfjs' ? 'cpu' : 'auto', threads: 1 });
    group = engine.allocGroup(shapes);
    channel = new MessageChannel();
    const { offsets, length } = group;
    exchange = new GradientExchange(engine, group, {
      buckets: offsets.map((start, i) => ({ start, end: offsets[i + 1] ?? length })),
      bucketsOfTensor: offsets.map((_, i) => ({ first: i, last: i })),
    });
  });
  afterEach(async () => {
    channel.port1.close();
    await engine.dispose();
  });

  const valuesOf = (index: number, base: number) =>
    Float32Array.from({ length: group.tensors[index]!.size }, (_, i) => base + 100 * index + i);

  function told(port: MessagePort): unknown[] {
    const indices: unknown[] = [];
    for (;;) {
      const received = receiveMessageOnPort(port);
      if (received === undefined) return indices;
      indices.push(received.message);
    }
  }

  const slice = (index: number) =>
    exchange.shared.subarray(group.offsets[index]!, group.offsets[index]! + group.tensors[index]!.size);

  it('tells of each bucket once a step, in the order in which they became final, when the ring can read it', async () => {
    for (const index of [2, 0, 1]) {
      engine.upload(group.tensors[index]!, valuesOf(index, 1));
      await engine.finish();
      exchange.ready(index, channel.port1);
    }
    // Where a download is needed nothing may be told before it is done.
    expect(told(channel.port2)).toEqual(
      inPlace
        ? [
            [0, 2],
            [0, 0],
            [0, 1],
          ]
        : [],
    );
    await exchange.flush(channel.port1);
    expect(told(channel.port2)).toEqual(
      inPlace
        ? []
        : [
            [0, 2],
            [0, 0],
            [0, 1],
          ],
    );
    for (const index of shapes.keys()) expect(slice(index)).toEqual(valuesOf(index, 1));
    await exchange.flush(channel.port1);
    expect(told(channel.port2)).toEqual([]);
    exchange.begin(7);
    exchange.ready(1, channel.port1);
    await exchange.flush(channel.port1);
    expect(told(channel.port2)).toEqual([[7, 1]]);
  });

  it('brings the sums of the ring back to the device', async () => {
    for (const index of shapes.keys()) {
      engine.upload(group.tensors[index]!, valuesOf(index, 1));
      exchange.ready(index, channel.port1);
    }
    await exchange.flush(channel.port1);
    for (const index of shapes.keys()) slice(index).set(valuesOf(index, 7_000));
    exchange.takeReduced();
    for (const index of shapes.keys()) {
      const read = new Float32Array(group.tensors[index]!.size);
      await engine.download(group.tensors[index]!, read);
      expect(read).toEqual(valuesOf(index, 7_000));
    }
  });

  it('lies on shared memory, which the main thread reduces in place', () => {
    expect(exchange.shared.buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(exchange.shared).toHaveLength(group.length);
  });
});
