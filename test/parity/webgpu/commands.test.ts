/** What the device does with commands and memory, beyond what the kernel suite asks of every engine. */
import { describe, expect, it } from 'vitest';
import { InvariantError, PeerError } from '../../../src/base/errors.ts';
import type { Gpu } from '../../../src/engine/webgpu/gpu.ts';
import { openGpu } from '../../../src/engine/webgpu/openDevice.ts';
import { flatMain, program } from '../../../src/engine/webgpu/program.ts';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { whyUnavailable } from '../webgpu.ts';

const unavailable = await whyUnavailable(createWebgpuEngine);

const increment = program({
  name: 'increment',
  bindings: { out: 'read_write f32' },
  params: { count: 'u32', by: 'f32' },
  code: flatMain('out[i] += params.by;'),
});

async function withGpu(use: (gpu: Gpu) => Promise<void>): Promise<void> {
  const gpu = await openGpu();
  try {
    await use(gpu);
  } finally {
    await gpu.close();
  }
}

describe.skipIf(unavailable !== undefined)('commands of the webgpu engine', () => {
  it('run in their order over several batches, with writes of the host between them', async () => {
    await withGpu(async (gpu) => {
      const out = gpu.memory.alloc([100], 'float32');
      const values = new Float32Array(100);
      for (let call = 0; call < 600; call++) {
        if (call === 300) gpu.commands.write(out.buffer, 0, values);
        gpu.run(increment, { tensors: { out }, params: { count: 100, by: call }, groups: [1] });
      }
      await gpu.transfers.read(out.buffer, 0, values);
      const sum = Array.from({ length: 300 }, (_, i) => 300 + i).reduce((a, b) => a + b);
      expect(values).toEqual(new Float32Array(100).fill(sum));
    });
  });

  it('see what was uploaded to the memory of a released tensor, and nothing sooner', async () => {
    await withGpu(async (gpu) => {
      const kept = gpu.memory.alloc([100], 'float32');
      const first = gpu.memory.alloc([100], 'float32');
      gpu.commands.write(first.buffer, 0, new Float32Array(100).fill(1));
      gpu.run(increment, { tensors: { out: first }, params: { count: 100, by: 1 }, groups: [1] });
      gpu.commands.copy(first.buffer, 0, kept.buffer, 0, 400);
      gpu.memory.release(first);
      const second = gpu.memory.alloc([100], 'float32');
      expect(second.buffer).toBe(first.buffer);
      gpu.commands.write(second.buffer, 0, new Float32Array(100).fill(7));
      const values = new Float32Array(100);
      await gpu.transfers.read(kept.buffer, 0, values);
      expect(values).toEqual(new Float32Array(100).fill(2));
      await gpu.transfers.read(second.buffer, 0, values);
      expect(values).toEqual(new Float32Array(100).fill(7));
    });
  });

  it('need a value for every parameter', async () => {
    await withGpu(async (gpu) => {
      const out = gpu.memory.alloc([1], 'float32');
      const params = { count: 1 } as { count: number; by: number };
      expect(() => gpu.run(increment, { tensors: { out }, params, groups: [1] })).toThrow('by has no value');
    });
  });

  it('that the device refuses reject every later promise as a bug', async () => {
    await withGpu(async (gpu) => {
      const out = gpu.memory.alloc([1], 'float32');
      const wrong = program({ ...increment, name: 'wrong', code: 'not WGSL' });
      gpu.run(wrong, { tensors: { out }, params: { count: 1, by: 1 }, groups: [1] });
      await expect(gpu.commands.finish()).rejects.toThrow(InvariantError);
      await expect(gpu.transfers.read(out.buffer, 0, new Float32Array(1))).rejects.toThrow('refused a command');
      await expect(gpu.transfers.read(out.buffer, 0, new Float32Array(0))).rejects.toThrow('refused a command');
    });
  });

  it('are refused after the end, and reads that wait then are rejected', async () => {
    const gpu = await openGpu();
    const out = gpu.memory.alloc([1000], 'float32');
    const reads = [1, 2, 3].map(() => gpu.transfers.read(out.buffer, 0, new Float32Array(1000)));
    const outcomes = Promise.allSettled(reads);
    await gpu.close();
    for (const outcome of await outcomes) {
      if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(PeerError);
    }
    expect(() => gpu.run(increment, { tensors: { out }, params: { count: 1, by: 1 }, groups: [1] })).toThrow(
      InvariantError,
    );
  });
});

describe.skipIf(unavailable !== undefined)('memory of the webgpu engine', () => {
  it('keeps no copy of a snapshot', async () => {
    const engine = await createWebgpuEngine();
    try {
      const group = engine.allocGroup([[2 ** 20]]);
      const into = new Float32Array(new SharedArrayBuffer(4 * group.length));
      await engine.snapshot([group], [into]);
      const { bytesPooled } = engine.memory();
      for (let i = 0; i < 3; i++) await engine.snapshot([group], [into]);
      expect(engine.memory().bytesPooled).toBe(bytesPooled);
      // The staging buffer alone.
      expect(bytesPooled).toBeLessThan(1.2 * into.byteLength);
    } finally {
      await engine.dispose();
    }
  });

  it('frees pooled buffers of other shapes in excess of what tensors took', async () => {
    const engine = await createWebgpuEngine();
    try {
      for (let i = 0; i < 40; i++) {
        const tensor = engine.alloc([(i + 20) * 2 ** 17]);
        engine.zero(tensor);
        engine.release(tensor);
        await engine.finish();
      }
      // All 40 have 828 MB.
      expect(engine.memory().bytesPooled).toBeLessThan(2 ** 27);
      const again = engine.alloc([100]);
      engine.upload(again, new Float32Array(100).fill(3));
      const values = new Float32Array(100);
      await engine.download(again, values);
      expect(values).toEqual(new Float32Array(100).fill(3));
    } finally {
      await engine.dispose();
    }
  });
});
