/** The compute thread's part of a trace: kernels by the clock of a device that has one, else by the host's. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { ComputeSpans } from '../../../src/worker/computeSpans.ts';
import { timedEngine } from '../../engines/timedEngine.ts';

let native: Engine;
beforeEach(() => {
  native = createNativeEngine({ threads: 1 });
});
afterEach(() => native.dispose());

/** The spans of a step of two kernels, after one that was given up. */
async function spansOf(engine: Engine) {
  const spans = new ComputeSpans();
  const observed = spans.observed(engine);
  const tensor = observed.alloc([4]);
  spans.begin(true);
  observed.zero(tensor); // of the step that is given up
  spans.begin(true);
  const ended = spans.start('microbatch 0');
  observed.zero(tensor);
  observed.add({ out: tensor, a: tensor, b: tensor });
  ended();
  const taken = await spans.take();
  observed.zero(tensor); // nobody traces it
  expect(await spans.take()).toEqual([]);
  for (const { startMs } of taken) expect(Math.abs(startMs - Date.now())).toBeLessThan(60_000);
  return taken.map(({ track, name, ms }) => ({ track, name, ms }));
}

it('kernels are timed on the host where they run within their calls', async () => {
  expect(await spansOf(native)).toMatchObject([
    { track: 'compute', name: 'zero' },
    { track: 'compute', name: 'add' },
    { track: 'compute', name: 'microbatch 0' },
  ]);
});

it('kernels are timed by the device where it has a clock, on a track of their own', async () => {
  const kernelMs = (kernel: string) => (kernel === 'add' ? 50 : 30);
  const [host, zero, add] = await spansOf(timedEngine(native, systemClock, { kernelMs, copyMs: () => 0 }));
  expect(host).toMatchObject({ track: 'compute', name: 'microbatch 0' });
  expect([zero, add]).toMatchObject([
    { track: 'device', name: 'zero' },
    { track: 'device', name: 'add' },
  ]);
  expect([zero?.ms, add?.ms]).toEqual([expect.closeTo(30), expect.closeTo(50)]);
});
