/** The GPU's clock: what `bench step` and traces read. */
import { describe, expect, it } from 'vitest';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { whyUnavailable } from '../webgpu.ts';

const unavailable = await whyUnavailable(createWebgpuEngine);

describe.skipIf(unavailable !== undefined)('timings of the webgpu engine', () => {
  it('has one time for each kernel, in the order of the calls, over more than one set of timestamps', async () => {
    const engine = await createWebgpuEngine();
    try {
      const tensors = [engine.alloc([1000]), engine.alloc([1000]), engine.alloc([1000])] as const;
      const [out, a, b] = tensors;
      engine.add({ out, a, b }); // before `start`: not among them
      const calls = 3000;
      engine.timings!.start();
      for (let i = 0; i < calls; i++) {
        if (i % 2 === 0) engine.add({ out, a, b });
        else engine.zero(out);
      }
      const times = await engine.timings!.take();
      expect(times.map(({ kernel }) => kernel)).toEqual(
        Array.from({ length: calls }, (_, i) => (i % 2 === 0 ? 'add' : 'zero')),
      );
      expect(times.filter(({ kernel, ms }) => kernel === 'add' && !(ms > 0))).toEqual([]);
      const starts = times.map(({ startMs }) => startMs);
      expect(starts).toEqual(starts.toSorted((one, other) => one - other));
      expect(await engine.timings!.take()).toEqual([]);

      // A step that is given up leaves timestamps that nobody takes.
      engine.timings!.start();
      engine.add({ out, a, b });
      engine.timings!.start();
      engine.zero(out);
      expect((await engine.timings!.take()).map(({ kernel }) => kernel)).toEqual(['zero']);
    } finally {
      await engine.dispose();
    }
  });
});
