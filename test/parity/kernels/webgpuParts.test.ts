/** Tensors that exceed what a GPU binds at a time: they are computed in parts, with the results of one piece. */
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Engine } from '../../../src/engine/engine.ts';
import type { Tensor } from '../../../src/engine/tensor.ts';
import { Commands } from '../../../src/engine/webgpu/commands.ts';
import { Gpu } from '../../../src/engine/webgpu/gpu.ts';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { nightlyIt } from '../../nightly.ts';
import { whyUnavailable } from '../webgpu.ts';
import { KernelContext, relativeError, seededDropout, seededIntegers, seededValues } from './harness.ts';
import { reference } from './sharedReference.ts';

/** Numbers in a binding: less than most tensors here have. */
const FLOATS_MAX = 8192;

const unavailable = await whyUnavailable(createWebgpuEngine);
if (unavailable !== undefined) process.stdout.write(`webgpu: tensors in parts not run: ${unavailable}\n`);

describe.runIf(unavailable === undefined)('tensors in parts', () => {
  let k: KernelContext;
  beforeAll(async () => {
    k = new KernelContext(await createWebgpuEngine(), 1);
  });
  afterEach(() => {
    k.releaseAll();
    vi.restoreAllMocks();
  });
  afterAll(async () => k?.engine.dispose());

  /** Calls kernels twice, with the limit of the device and with the small one, and compares what they leave in each tensor. */
  async function expectSame(run: (engine: Engine) => readonly Tensor[], tolerance = 0): Promise<void> {
    const results: Float32Array[][] = [];
    const calls: number[] = [];
    for (const isSmall of [false, true]) {
      const limit = vi.spyOn(Gpu.prototype, 'bindingFloatsMax', 'get');
      if (isSmall) limit.mockReturnValue(FLOATS_MAX);
      const record = vi.spyOn(Commands.prototype, 'run');
      const tensors = run(k.engine);
      calls.push(record.mock.calls.length);
      record.mockRestore();
      expect(Math.max(...tensors.map(({ size }) => size))).toBeGreaterThan(FLOATS_MAX);
      results.push(await Promise.all(tensors.map((tensor) => k.read(tensor))));
      limit.mockRestore();
    }
    expect(calls[1], 'more parts').toBeGreaterThan(calls[0]!);
    const [expected, actual] = results as [Float32Array[], Float32Array[]];
    for (const [i, values] of actual.entries()) {
      expect(relativeError(values, expected[i]!), `result ${i}`).toBeLessThanOrEqual(tolerance);
      expect(values.some((value) => value !== 0)).toBe(true);
    }
  }

  it.each([20, 21])('embedding of %i channels', async (c) => {
    const [b, t, v] = [5, 100, 700];
    const tokens = k.put([b, t], seededIntegers(1, b * t, v));
    const [wte, wpe] = [k.put([v, c], seededValues(2, v * c)), k.put([t, c], seededValues(3, t * c))];
    await expectSame((engine) => {
      const [plain, out] = [k.out([b, t, c]), k.out([b, t, c])];
      engine.embeddingForward({ out: plain, tokens, wte });
      engine.embeddingForward({ out, tokens, wte, wpe });
      return [plain, out];
    });
    const dout = k.put([b, t, c], seededValues(4, b * t * c));
    await expectSame((engine) => {
      const [dwte, dwpe] = [k.zeros([v, c]), k.zeros([t, c])];
      engine.embeddingBackward({ dout, tokens, dwte, dwpe });
      return [dwte, dwpe];
    }, 1e-6);
  });

  it('layer norm', async () => {
    const [n, c] = [300, 65];
    const [inp, dout] = [k.put([n, c], seededValues(1, n * c)), k.put([n, c], seededValues(2, n * c))];
    const [weight, bias] = [k.put([c], seededValues(3, c)), k.put([c], seededValues(4, c))];
    const [mean, rstd] = [k.out([n]), k.out([n])];
    await expectSame((engine) => {
      const out = k.out([n, c]);
      engine.layerNormForward({ out, mean, rstd, inp, weight, bias, eps: 1e-5 });
      return [out, mean, rstd];
    });
    await expectSame((engine) => {
      const [dinp, dweight, dbias] = [k.out([n, c]), k.zeros([c]), k.zeros([c])];
      engine.layerNormBackward({ dinp, dweight, dbias, dout, inp, weight, mean, rstd });
      return [dinp, dweight, dbias];
    }, 1e-6);
  });

  it('rms norm, rotary positions and gates', async () => {
    const [b, t, c] = [3, 100, 64];
    const n = b * t;
    const [inp, dout] = [k.put([b, t, c], seededValues(1, n * c)), k.put([n, c], seededValues(2, n * c))];
    const [weight, rstd] = [k.put([c], seededValues(3, c)), k.out([n])];
    await expectSame((engine) => {
      const out = k.out([n, c]);
      engine.rmsNormForward({ out, rstd, inp, weight, eps: 1e-5 });
      return [out, rstd];
    });
    await expectSame((engine) => {
      const [dinp, dweight] = [k.out([n, c]), k.zeros([c])];
      engine.rmsNormBackward({ dinp, dweight, dout, inp, weight, rstd });
      return [dinp, dweight];
    }, 1e-6);
    const table = k.put([t + 9, 2, 8], seededValues(4, (t + 9) * 16));
    const positions = k.put([b], Int32Array.of(9, 0, 4));
    const starts = k.put(
      [b, t],
      Int32Array.from({ length: n }, (_, row) => (row % t > 30 ? 31 : 0)),
    );
    await expectSame((engine) => {
      const out = k.out([b, t, c]);
      engine.rope({ inp, out, table, heads: 3, positions, starts });
      return [out];
    });
    await expectSame((engine) => {
      const [out, dinp] = [k.out([n, c / 2]), k.out([n, c])];
      engine.gatedActivationForward({ kind: 'silu', out, inp });
      engine.gatedActivationBackward({ kind: 'silu', dinp, dout: out, inp });
      return [out, dinp];
    });
  });

  it('cross-entropy', async () => {
    const [n, v] = [300, 65];
    const [logits, targets] = [k.put([n, v], seededValues(1, n * v)), k.put([n], seededIntegers(2, n, v))];
    const weights = k.put([n], seededValues(3, n));
    await expectSame((engine) => {
      const [losses, dlogits] = [k.out([n]), k.out([n, v])];
      engine.crossEntropy({ losses, logits, targets, dlogits, weights });
      return [losses, dlogits];
    });
  });

  it.each([true, false])('linear cross-entropy, weight transposed: %s', async (weightTransposed) => {
    const [n, c, v] = [150, 80, 119];
    const inp = k.put([n, c], seededValues(1, n * c));
    const shape = weightTransposed ? [v, c] : [c, v];
    const weight = k.put(shape, seededValues(2, v * c));
    const targets = k.put([n], seededIntegers(3, n, v));
    await expectSame((engine) => {
      const [losses, dinp, dweight] = [k.out([n]), k.out([n, c]), k.zeros(shape)];
      engine.linearCrossEntropy({ losses, inp, weight, weightTransposed, targets, dinp, dweight, scale: 0.1 });
      return [losses, dinp, dweight];
    }, 2e-6);
  });

  it.each([true, false])('linear layers, weight transposed: %s', async (weightTransposed) => {
    const [n, ic, oc] = [150, 300, 79];
    const shape = weightTransposed ? [oc, ic] : [ic, oc];
    const [inp, weight] = [k.put([n, ic], seededValues(1, n * ic)), k.put(shape, seededValues(2, ic * oc))];
    const [bias, residual] = [k.put([oc], seededValues(3, oc)), k.put([n, oc], seededValues(4, n * oc))];
    const dout = k.put([n, oc], seededValues(5, n * oc));
    const layer = { inp, weight, weightTransposed, bias };
    await expectSame((engine) => {
      const [out, preActivation, added, apart] = [k.out([n, oc]), k.out([n, oc]), k.out([n, oc]), k.out([n, oc])];
      engine.linearForward({ ...layer, out, activation: { kind: 'gelu', preActivation } });
      engine.linearForward({ ...layer, out: added, residual, dropout: seededDropout(6, 0.3) });
      engine.linearForward({ ...layer, out: apart, rowsApart: true });
      return [out, preActivation, added, apart];
    });
    const preActivation = k.put([n, ic], seededValues(7, n * ic));
    await expectSame((engine) => {
      const [dinp, dweight, dbias] = [k.out([n, ic]), k.zeros(shape), k.zeros([oc])];
      const more = k.put([n, ic], seededValues(8, n * ic));
      engine.linearBackward({ ...layer, dout, dinp, dinpActivation: { kind: 'gelu', preActivation }, dweight, dbias });
      engine.linearBackward({ ...layer, dout, dinp: more, accumulate: true });
      return [dinp, dweight, dbias, more];
    });
  });

  nightlyIt('the token embedding of GPT-2 as a weight of either layout', { timeout: 600_000 }, async () => {
    const [n, ic, oc] = [3, 768, 50_257];
    const inputs = { inp: seededValues(1, n * ic), weight: seededValues(2, oc * ic), dout: seededValues(3, n * oc) };
    for (const transposed of [true, false]) {
      const [inp, dout] = [k.put([n, ic], inputs.inp), k.put([n, oc], inputs.dout)];
      const weight = k.put(transposed ? [oc, ic] : [ic, oc], inputs.weight);
      const [out, dinp, dweight] = [k.out([n, oc]), k.out([n, ic]), k.zeros(weight.shape)];
      k.engine.linearForward({ inp, weight, weightTransposed: transposed, out });
      k.engine.linearBackward({ inp, weight, weightTransposed: transposed, dout, dinp, dweight });
      const shape = { n, ic, oc, transposed, bias: undefined };
      const expected = reference.linearBackward({ ...inputs, ...shape }, inputs.dout);
      await k.expectClose(out, reference.linearForward({ ...inputs, ...shape }), 'linearForward', 'out');
      await k.expectClose(dinp, expected.dinp, 'linearBackward', 'dinp');
      await k.expectClose(dweight, expected.dweight, 'linearBackward', 'dweight');
      k.releaseAll();
    }
  });

  it('squared norm', async () => {
    const group = k.engine.allocGroup([[20_000], [3], [17, 1000]]);
    k.fillGroup(group, 1);
    const expected = await k.engine.squaredNorm(group);
    vi.spyOn(Gpu.prototype, 'bindingFloatsMax', 'get').mockReturnValue(FLOATS_MAX);
    expect(await k.engine.squaredNorm(group)).toBe(expected);
  });
});
