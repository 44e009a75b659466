/**
 * The WebGPU engine's AdamW gives the bits of the native engine on x86, so it gives the same on every GPU. ARM processors decide before
 * rounding whether a result is too small for float32, and some results are then different.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomBits, randomKey, randomUniform } from '../../../src/base/counterRandom.ts';
import { instructionSets } from '../../../src/base/instructionSets.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import type { AdamwOptions } from '../../../src/engine/optimizerOptions.ts';
import type { TensorGroup } from '../../../src/engine/tensor.ts';
import type { Gpu } from '../../../src/engine/webgpu/gpu.ts';
import { adamw } from '../../../src/engine/webgpu/kernels/adamw.ts';
import { openGpu } from '../../../src/engine/webgpu/openDevice.ts';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { whyUnavailable } from '../webgpu.ts';
import { seededValues } from './harness.ts';

const sizes = [3, 40_013, 1, 96, 20_000, 1_024, 64, 65];
const weightDecay = [0.1, 0.2, 0, 0, 0.3, 0, 0.1, 1e-9];
const names = ['params', 'grads', 'm', 'v', 'average'] as const;
type Groups = Record<(typeof names)[number], TensorGroup>;
type Settings = Omit<AdamwOptions, keyof Groups | 'weightDecay'>;

/** The groups as an update takes them, with the weight of the new parameters in their average; without one if it is 0. */
function operands({ average, ...groups }: Groups, weight: number) {
  return weight === 0 ? groups : { ...groups, average: { group: average, weight } };
}

const notX86 = 'the processor is not an x86 with fused multiply-adds';
const unavailable = await whyUnavailable(createWebgpuEngine);
if (unavailable !== undefined) process.stdout.write(`webgpu: not run: ${unavailable}\n`);

describe.runIf(unavailable === undefined)('AdamW of the WebGPU engine', () => {
  let [native, webgpu]: Engine[] = [];
  let isX86 = false;
  beforeAll(async () => {
    const engine = createNativeEngine();
    isX86 = instructionSets[engine.isa].update === 'x86';
    native = engine;
    webgpu = await createWebgpuEngine();
  });
  afterAll(async () => {
    await native?.dispose();
    await webgpu?.dispose();
  });

  const rates = { learningRate: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, gradScale: 0.37 };

  it.for<{
    name: string;
    settings?: Partial<Settings>;
    gradient: (seed: number, i: number) => number;
    steps?: number;
    averageWeight?: number;
  }>([
    { name: 'gradients about 1, 50 steps', gradient: uniform, steps: 50 },
    { name: 'averages', gradient: uniform, averageWeight: 0.3 },
    { name: 'averages that are the parameters', gradient: uniform, averageWeight: 1 },
    { name: 'gradients of many magnitudes', gradient: (seed, i) => uniform(seed, i) * 10 ** -(i % 45) },
    { name: 'tiny moments, which become 0', gradient: (seed, i) => uniform(seed, i) * 2 ** -(60 + (i % 12)) },
    { name: 'gradients that are 0', gradient: (seed, i) => (i % 3 === 0 ? uniform(seed, i) : i % 3 === 1 ? 0 : -0) },
    {
      name: 'huge gradients, whose squares are infinite',
      gradient: (seed, i) => uniform(seed, i) * 2 ** (40 + (i % 88)),
    },
    { name: 'any bits', gradient: (seed, i) => floatOf(randomBits(randomKey(seed), i)) },
    {
      name: 'gradients that are NaN or infinite',
      gradient: (seed, i) => [NaN, Infinity, -Infinity, 1, uniform(seed, i)][i % 5]!,
    },
    { name: 'betas near 1', settings: { beta1: 0.99999, beta2: 0.9999999 }, gradient: uniform },
    { name: 'no averages', settings: { beta1: 0, beta2: 0, gradScale: 1 }, gradient: uniform },
    { name: 'eps 0', settings: { eps: 0 }, gradient: (seed, i) => (i % 2) * uniform(seed, i) },
    { name: 'a gradient scale that is not finite', settings: { gradScale: NaN }, gradient: uniform, steps: 2 },
  ])('$name: the bits of native', async ({ settings, gradient, steps = 12, averageWeight = 0 }, { skip }) => {
    skip(!isX86, notX86);
    const engines = [native!, webgpu!] as const;
    const groups = engines.map((engine) => allocGroups(engine, sizes));
    fill(engines, groups, 'params', (tensor, i) => uniform(tensor, i));
    for (let step = 1; step <= steps; step++) {
      // Gradients that are left from the last step stay, as in a step that is not the first of its microbatches.
      if (step % 4 !== 0) fill(engines, groups, 'grads', (tensor, i) => gradient(100 * step + tensor, i));
      const options = { ...rates, ...settings, step, weightDecay, zeroGrads: step % 4 !== 3 };
      for (const [k, engine] of engines.entries()) {
        engine.adamw({ ...operands(groups[k]!, averageWeight), ...options });
      }
    }
    for (const name of names) {
      const [expected, actual] = await Promise.all(engines.map((engine, k) => contents(engine, groups[k]![name])));
      expectSameBits(actual!, expected!, name);
    }
    expect(await padding(webgpu!, groups[1]!), 'padding stays 0').toEqual([]);
  });

  it('learning rates and steps over a long run: the bits of native', async ({ skip }) => {
    skip(!isX86, notX86);
    // One element, whose moments and step show every factor that the host computes.
    const engines = [native!, webgpu!] as const;
    const groups = engines.map((engine) => allocGroups(engine, [1]));
    const [of, to] = engines.map((engine, k) => async () => (await contents(engine, groups[k]!.params))[0]!);
    for (let step = 1; step < 2_000_000; step = Math.ceil(step * 1.07)) {
      fill(engines, groups, 'grads', () => 1);
      for (const [k, engine] of engines.entries()) {
        engine.adamw({
          ...operands(groups[k]!, 0),
          ...rates,
          learningRate: 1 / step,
          beta2: 0.999,
          step,
          weightDecay: [0.1],
        });
      }
      expectSameBits(Float32Array.of(await to!()), Float32Array.of(await of!()), `step ${step}`);
    }
  });

  it('a group of several bindings has the bits of one', async () => {
    const gpu = await openGpu();
    // 64 · 7 elements in a binding: tensors begin and end inside bindings, and one has 90 of them.
    const narrow = Object.create(gpu, { bindingFloatsMax: { value: 448 } }) as Gpu;
    const runs = [gpu, narrow].map((device) => {
      const groups = Object.fromEntries(
        names.map((name) => [name, gpu.memory.allocGroup(sizes.map((size) => [size]))]),
      );
      return { device, groups: groups as Record<(typeof names)[number], ReturnType<typeof gpu.memory.allocGroup>> };
    });
    const results: Float32Array[] = [];
    for (const { device, groups } of runs) {
      gpu.commands.write(groups.params.buffer, 0, seededValues(1, groups.params.length));
      gpu.commands.write(groups.grads.buffer, 0, seededValues(2, groups.grads.length));
      adamw(device, { ...operands(groups, 0.3), ...rates, weightDecay, step: 1, zeroGrads: true });
      for (const name of names) {
        const result = new Float32Array(groups[name].length);
        await gpu.transfers.read(groups[name].buffer, 0, result);
        results.push(result);
      }
    }
    await gpu.close();
    for (const [i, name] of names.entries()) expectSameBits(results[i + names.length]!, results[i]!, name);
    expect(results[1]!.slice(0, 3), 'the gradients of the first tensor').toEqual(new Float32Array(3));
  });
});

function uniform(seed: number, i: number): number {
  return 2 * randomUniform(randomKey(seed), i) - 1;
}

function allocGroups(engine: Engine, of: readonly number[]): Groups {
  const group = () => engine.allocGroup(of.map((size) => [size]));
  return { params: group(), grads: group(), m: group(), v: group(), average: group() };
}

/** Gives a group of both engines the same values. */
function fill(
  engines: readonly Engine[],
  groups: readonly Groups[],
  name: keyof Groups,
  value: (tensor: number, i: number) => number,
): void {
  for (const [tensor, { size }] of groups[0]![name].tensors.entries()) {
    const values = Float32Array.from({ length: size }, (_, i) => value(tensor, i));
    for (const [k, engine] of engines.entries()) engine.upload(groups[k]![name].tensors[tensor]!, values);
  }
}

/** All tensors of a group, without padding. */
async function contents(engine: Engine, { tensors }: TensorGroup): Promise<Float32Array> {
  const parts = tensors.map(({ size }) => new Float32Array(size));
  for (const [i, tensor] of tensors.entries()) await engine.download(tensor, parts[i]!);
  return Float32Array.from(parts.flatMap((part) => [...part]));
}

/** The numbers of the groups' padding that are not 0. */
async function padding(engine: Engine, groups: Groups): Promise<number[]> {
  const found: number[] = [];
  for (const group of Object.values(groups)) {
    const { tensors, offsets, length } = group;
    const all = engine.hostRange(group, 0, length);
    await engine.copyOut(group, 0, length, all);
    for (const [i, { size }] of tensors.entries()) all.fill(0, offsets[i]!, offsets[i]! + size);
    found.push(...all.filter((value) => value !== 0));
  }
  return found;
}

/** Equal to the last bit; any NaN equals any other. */
function expectSameBits(actual: Float32Array, expected: Float32Array, name: string): void {
  const [actualBits, expectedBits] = [actual, expected].map(
    (array) => new Uint32Array(array.buffer, array.byteOffset, array.length),
  );
  const different = [...actual].flatMap((value, i) => {
    const isSame = actualBits![i] === expectedBits![i] || (Number.isNaN(value) && Number.isNaN(expected[i]!));
    return isSame ? [] : [{ i, actual: value, expected: expected[i]! }];
  });
  expect(different.slice(0, 5), `${name}: ${different.length} of ${expected.length} differ`).toEqual([]);
}

const word = new DataView(new ArrayBuffer(4));

function floatOf(bits: number): number {
  word.setUint32(0, bits);
  return word.getFloat32(0);
}
