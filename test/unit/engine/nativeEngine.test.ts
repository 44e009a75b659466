import { afterEach, describe, expect, test } from 'vitest';
import { randomKey, randomUniform } from '../../../src/base/counterRandom.ts';
import { InvariantError, UserError } from '../../../src/base/errors.ts';
import type { InstructionSet } from '../../../src/base/instructionSets.ts';
import { loadNative } from '../../../src/engine/native/loadNative.ts';
import {
  createNativeEngine,
  type NativeEngine,
  nativeAddInto,
  threadCount,
} from '../../../src/engine/native/nativeEngine.ts';
import { NativeTensor, NativeTensorGroup } from '../../../src/engine/native/sharedMemory.ts';
import type { Shape, Tensor, TensorGroup } from '../../../src/engine/tensor.ts';

type Four<T> = [T, T, T, T];

const engines: NativeEngine[] = [];

function engineOf(threads: number, isa: InstructionSet | 'auto' = 'auto'): NativeEngine {
  const engine = createNativeEngine({ threads, isa });
  engines.push(engine);
  return engine;
}

afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.dispose()));
});

function addon() {
  const load = loadNative();
  if ('error' in load) throw new Error(load.error);
  return load.addon;
}

function values(size: number, seed: number): Float32Array {
  const key = randomKey(seed);
  return Float32Array.from({ length: size }, (_, i) => 2 * randomUniform(key, i) - 1);
}

/** Runs a small layer of every kernel that sums, and returns all results in one array. */
async function runKernels(engine: NativeEngine): Promise<Float32Array> {
  const [b, t, c, nHead, v] = [3, 70, 96, 3, 65];
  const n = b * t;
  let seed = 1;
  const random = (shape: Shape): Tensor => {
    const tensor = engine.alloc(shape);
    engine.upload(tensor, values(tensor.size, seed++));
    return tensor;
  };
  const tokens = engine.alloc([b, t], 'int32');
  engine.upload(
    tokens,
    Int32Array.from({ length: n }, (_, i) => (i * 7) % v),
  );
  const dropout = { rate: 0.2, seed: 5, step: 1, firstSample: 0, site: 0 };

  const [inp, weight, bias, out, dout] = [
    random([n, c]),
    random([c, 3 * c]),
    random([3 * c]),
    random([n, 3 * c]),
    random([n, 3 * c]),
  ];
  engine.linearForward({ inp, weight, bias, out });
  const [row, few, table] = [random([1, v]), random([4, 515]), random([3 * c, 515])];
  engine.linearForward({ inp: random([1, 3 * c]), weight: random([3 * c, v]), out: row });
  engine.linearForward({ inp: random([4, 3 * c]), weight: table, out: few });
  const scores = random([2, 3 * c]);
  engine.linearForward({ inp: random([2, 515]), weight: table, weightTransposed: true, out: scores });
  const [dinp, dweight, dbias] = [random([n, c]), random([c, 3 * c]), random([3 * c])];
  engine.linearBackward({ inp, weight, dout, dinp, dweight, dbias });
  const qkv = random([b, t, 3 * c]);
  engine.upload(qkv, (engine.hostView(out) as Float32Array).slice());
  const [attended, lse, dqkv, dattended] = [
    random([b, t, c]),
    random([2, b, nHead, t]),
    random([b, t, 3 * c]),
    random([b, t, c]),
  ];
  engine.attentionForward({ qkv, nHead, lse, dropout, out: attended });
  engine.attentionBackward({ qkv, nHead, lse, dropout, out: attended, dout: dattended, dqkv });
  const [decoded, cache] = [random([2, 2, c]), { keys: random([1500, c]), values: random([1500, c]) }];
  const sequences = [
    { ...cache, position: 1490 },
    { keys: random([9, c]), values: random([9, c]), position: 3 },
  ];
  engine.attentionDecode({ qkv: random([2, 2, 3 * c]), sequences, nHead, out: decoded });
  const [norm, mean, rstd, scale, shift] = [random([n, c]), random([n]), random([n]), random([c]), random([c])];
  engine.layerNormForward({ out: norm, mean, rstd, inp, weight: scale, bias: shift, eps: 1e-5 });
  const [dnorm, dscale, dshift] = [random([n, c]), random([c]), random([c])];
  engine.layerNormBackward({ dinp: dnorm, dweight: dscale, dbias: dshift, dout: dinp, inp, weight: scale, mean, rstd });
  const variants = [random([n, c]), random([n, c]), random([c]), random([n, c]), random([n, 2 * c])];
  const [rms, drms, drmsScale, gated, dgated] = variants as [Tensor, Tensor, Tensor, Tensor, Tensor];
  engine.rmsNormForward({ out: rms, rstd, inp, weight: scale, eps: 1e-5 });
  engine.rmsNormBackward({ dinp: drms, dweight: drmsScale, dout: dinp, inp, weight: scale, rstd });
  const [pairs, turns] = [random([n, 2 * c]), random([t, 2, 4])];
  engine.gatedActivationForward({ kind: 'silu', inp: pairs, out: gated });
  engine.gatedActivationBackward({ kind: 'silu', inp: pairs, dout: drms, dinp: dgated });
  const rotated = random([b, t, 3 * c]);
  engine.rope({ inp: qkv, out: rotated, table: turns, heads: Math.floor((2 * c) / 8) });
  const [dwte, dwpe] = [random([v, c]), random([t, c])];
  engine.embeddingBackward({ dout: dnorm, tokens, dwte, dwpe });
  const [logits, losses] = [random([n, v]), random([n])];
  const targets = engine.alloc([n], 'int32');
  engine.upload(
    targets,
    Int32Array.from({ length: n }, (_, i) => i % v),
  );
  engine.crossEntropy({ losses, logits, targets, dlogits: logits, scale: 1 / n });
  const [headLosses, hidden, head, dhidden, dhead] = [
    random([n]),
    random([n, c]),
    random([v, c]),
    random([n, c]),
    random([v, c]),
  ];
  const headOptions = { inp: hidden, weight: head, weightTransposed: true, dinp: dhidden, dweight: dhead };
  engine.linearCrossEntropy({ ...headOptions, losses: headLosses, targets, scale: 1 / n });
  const group = engine.allocGroup([[70001], [33]]);
  engine.upload(group.tensors[0]!, values(70001, 99));
  const norm2 = await engine.squaredNorm(group);

  const results = [
    out,
    row,
    few,
    scores,
    dinp,
    dweight,
    dbias,
    attended,
    lse,
    dqkv,
    decoded,
    norm,
    dnorm,
    dscale,
    dshift,
    dwte,
    dwpe,
    ...variants,
    rotated,
    logits,
    losses,
    headLosses,
    dhidden,
    dhead,
  ];
  const all = results.flatMap((tensor) => [...(engine.hostView(tensor) as Float32Array)]);
  return Float32Array.from([...all, norm2]);
}

describe('results', () => {
  const sets = addon().instructionSets();

  test.each(sets)('%s: the same bits with 1, 2, 3 and 8 threads', async (isa) => {
    const one = await runKernels(engineOf(1, isa));
    for (const threads of [2, 3, 8]) {
      const other = await runKernels(engineOf(threads, isa));
      expect(Buffer.compare(Buffer.from(one.buffer), Buffer.from(other.buffer)), `${threads} threads`).toBe(0);
    }
  });

  test('the instruction sets agree', async () => {
    const expected = await runKernels(engineOf(1, 'scalar'));
    for (const isa of sets) {
      const actual = await runKernels(engineOf(2, isa));
      const worst = actual.reduce((most, x, i) => {
        return Math.max(most, Math.abs(x - expected[i]!) / Math.max(1, Math.abs(expected[i]!)));
      }, 0);
      expect(worst, isa).toBeLessThan(2e-4);
    }
  });

  test.each(sets)('%s: dropout draws what counterRandom.ts draws', async (isa) => {
    const engine = engineOf(2, isa);
    const words = { seed: 1, step: 2, firstSample: 2 ** 20, site: 4 };
    const tensor = engine.alloc([2, 1003]);
    for (const rate of [0, 0.1, 0.5, 1 / 3]) {
      engine.upload(tensor, new Float32Array(2006).fill(1));
      engine.dropout({ out: tensor, inp: tensor, dropout: { rate, ...words } });
      const expected = Float32Array.from({ length: 2006 }, (_, i) => {
        const key = randomKey(words.seed, words.step, words.firstSample + Math.floor(i / 1003), words.site);
        return randomUniform(key, i % 1003) >= rate ? 1 / (1 - rate) : 0;
      });
      expect(engine.hostView(tensor)).toEqual(expected);
    }
  });

  test('what is not a number stays visible', async () => {
    const engine = engineOf(1);
    const logits = engine.alloc([1, 40]);
    engine.upload(logits, new Float32Array(40).fill(Number.NaN));
    const losses = engine.alloc([1]);
    const targets = engine.alloc([1], 'int32');
    engine.upload(targets, Int32Array.of(3));
    engine.crossEntropy({ losses, logits, targets });
    expect(engine.hostView(losses)![0]).toBeNaN();
    engine.activationForward({ kind: 'gelu', out: logits, inp: logits });
    expect(engine.hostView(logits)!.every(Number.isNaN)).toBe(true);
  });

  test('addInto sums arrays of any length and rejects different ones', () => {
    const addInto = nativeAddInto()!;
    for (const size of [0, 1, 15, 16, 1000]) {
      const dst = new Float32Array(new SharedArrayBuffer(4 * size + 4), 4, size);
      dst.set(values(size, 1));
      const expected = dst.map((x, i) => x + values(size, 2)[i]!);
      addInto(dst, values(size, 2));
      expect(dst).toEqual(expected);
    }
    expect(() => addInto(new Float32Array(3), new Float32Array(4))).toThrow(
      'expected 3 elements in src but received 4',
    );
  });
});

describe('bad arguments are errors', () => {
  test('at the engine', () => {
    const engine = engineOf(1);
    const [a, b] = [engine.alloc([2, 3]), engine.alloc([3, 2])];
    const ints = engine.alloc([2, 3], 'int32');
    expect(() => engine.linearForward({ inp: a, weight: a, out: b })).toThrow(InvariantError);
    expect(() => engine.linearForward({ inp: a, weight: b, out: a })).toThrow('out is [2,3]; expected 4 elements');
    expect(() => engine.add({ out: a, a, b: ints })).toThrow('b [2,3] is int32; expected float32');
    expect(() => engine.add({ out: a, a, b: { shape: [2, 3], dtype: 'float32', size: 6 } })).toThrow('native engine');
    expect(() => engine.upload(a, new Float32Array(5))).toThrow('upload: the tensor is Float32Array(6)');
    expect(() => engine.alloc([2, 0])).toThrow(InvariantError);
    const dropout = { rate: 1, seed: 1, step: 1, firstSample: 0, site: 0 };
    expect(() => engine.dropout({ out: a, inp: a, dropout })).toThrow('rate');
    engine.release(a);
    expect(() => engine.release(a)).toThrow('released twice');
  });

  test('tokens and targets outside the vocabulary', () => {
    const engine = engineOf(1);
    const tokens = engine.alloc([1, 2], 'int32');
    const [wte, out] = [engine.alloc([5, 4]), engine.alloc([1, 2, 4])];
    for (const token of [5, -1, 2 ** 31 - 1]) {
      engine.upload(tokens, Int32Array.of(0, token));
      expect(() => engine.embeddingForward({ out, tokens, wte })).toThrow(`token 1 is ${token}`);
      expect(() => engine.embeddingBackward({ dout: out, tokens, dwte: wte })).toThrow(`token 1 is ${token}`);
    }
    const targets = engine.alloc([2], 'int32');
    engine.upload(targets, Int32Array.of(-1, 4));
    const [losses, logits] = [engine.alloc([2]), engine.alloc([2, 4])];
    expect(() => engine.crossEntropy({ losses, logits, targets })).toThrow('target 1 is 4');
    const [inp, weight] = [engine.alloc([2, 3]), engine.alloc([3, 4])];
    const { bytesInUse } = engine.memory();
    expect(() => engine.linearCrossEntropy({ losses, inp, weight, targets })).toThrow('target 1 is 4');
    expect(engine.memory().bytesInUse).toBe(bytesInUse);
    const wpe = engine.alloc([3, 4]);
    engine.upload(tokens, Int32Array.of(0, 1));
    expect(() => engine.embeddingForward({ out, tokens, wte, wpe, positionOffset: 2 })).toThrow('every position');
  });

  test('at the native boundary, whatever is passed', () => {
    const native = addon() as unknown as Record<string, (...args: unknown[]) => unknown>;
    const handle = native['createEngine']!(1, 'auto') as number;
    const floats = new Float32Array(16);
    const odd = [undefined, null, -1, 1.5, Number.NaN, 2 ** 40, 'x', {}, [], true, floats, new Float64Array(16), 10n];
    for (const [name, call] of Object.entries(native)) {
      if (
        ['instructionSets', 'misalignment', 'adviseHugePages', 'addInto', 'createEngine', 'disposeEngine'].includes(
          name,
        )
      )
        continue;
      expect(() => call(), name).toThrow(TypeError);
      expect(() => call(handle), name).toThrow(TypeError);
      for (const value of odd) {
        expect(() => call(value, ...Array(20).fill(value)), `${name}(${String(value)}, …)`).toThrow(TypeError);
        // One array of any size, or one number, is all that some need: those may do their work.
        if (name === 'fmaLimit' || name === 'bf16Limit') continue;
        try {
          call(handle, ...Array(20).fill(value));
        } catch (error) {
          expect(error, name).toBeInstanceOf(TypeError);
        }
      }
      expect(() => call(handle, 2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1, floats, floats), name).toThrow(
        TypeError,
      );
    }
    expect(() => native['createEngine']!(0, 'auto')).toThrow(TypeError);
    expect(() => native['createEngine']!(100000, 'auto')).toThrow('at most 256 threads');
    expect(() => native['createEngine']!(1, 'mmx')).toThrow("no instruction set 'mmx'");
    native['disposeEngine']!(handle);
  });

  test('arrays that would be read after they are overwritten', () => {
    const engine = engineOf(2);
    const [a, b] = [engine.alloc([4, 4]), engine.alloc([4, 4])];
    const weight = engine.alloc([4, 4]);
    expect(() => engine.linearForward({ inp: a, weight, out: a })).toThrow('out and inp to share no memory');
    engine.linearForward({ inp: a, weight, out: b, residual: b });
    const dweight = engine.alloc([4, 4]);
    const backward = { inp: a, weight, dout: b, dweight };
    expect(() => engine.linearBackward({ ...backward, dinp: a })).toThrow('dinp and inp to share no memory');
    expect(() => engine.linearBackward({ ...backward, dinp: b })).toThrow('dinp and dout to share no memory');
    const [targets, losses] = [engine.alloc([4], 'int32'), engine.alloc([4])];
    engine.zero(targets);
    const head = { inp: a, weight, targets, losses, scale: 1, dweight };
    expect(() => engine.linearCrossEntropy({ ...head, dinp: a })).toThrow('dinp and inp to share no memory');
    const residual = engine.alloc([4, 4]) as NativeTensor;
    const halves = new Uint16Array(residual.data.buffer, residual.data.byteOffset, 16);
    const narrower = new NativeTensor([4, 4], halves);
    expect(() => engine.linearForward({ inp: a, weight, out: narrower, residual })).toThrow(
      'out and residual to share',
    );
  });

  test('denormal numbers are 0 in kernels, on every thread, and numbers again afterwards', () => {
    const size = 1 << 17;
    for (const isa of addon().instructionSets()) {
      const engine = engineOf(2, isa);
      const [a, b, out] = [engine.alloc([size]), engine.alloc([size]), engine.alloc([size])];
      engine.upload(a, new Float32Array(size).fill(1e-40));
      engine.zero(b);
      engine.add({ out, a, b });
      expect(engine.hostView(out)!.every((sum) => sum === 0)).toBe(true);
    }
    expect(Math.fround(1e-40) * 2).toBeGreaterThan(0);
    expect(5e-324 + 5e-324).toBe(1e-323);
  });

  test('a dropout rate that would drop all but what the generator cannot count', () => {
    const engine = engineOf(1);
    const inp = engine.alloc([1, 64]);
    const dropout = { rate: 1 - 2 ** -25, seed: 1, step: 1, firstSample: 0, site: 0 };
    expect(() => engine.dropout({ out: inp, inp, dropout })).toThrow('dropout rate in [0, 1 - 2^-24]');
  });

  test('groups of other shapes, and tensors that are not in them', () => {
    const engine = engineOf(1);
    const [params, grads, m, v] = Array.from({ length: 4 }, () => engine.allocGroup([[20], [3]])) as Four<TensorGroup>;
    const rates = { learningRate: 1, beta1: 0.9, beta2: 0.9, eps: 1e-8, weightDecay: [0, 0], step: 1, gradScale: 1 };
    engine.adamw({ params, grads, m, v, ...rates });
    const other = engine.allocGroup([[80], [3]]);
    const mismatch = 'v has 2 tensors, which are not those of the 2 that are updated';
    expect(() => engine.adamw({ params, grads, m, v: other, ...rates })).toThrow(mismatch);
    expect(() => engine.adamw({ params, grads, m, v, ...rates, weightDecay: [0] })).toThrow('in weightDecay');
    for (const offsets of [
      [0, -1],
      [0, 19],
      [0, 46],
      [Number.NaN, 32],
    ]) {
      const moved = new NativeTensorGroup(
        params.tensors as NativeTensor[],
        offsets,
        engine.hostRange(params, 0, params.length),
      );
      expect(() => engine.adamw({ params: moved, grads, m, v, ...rates })).toThrow('expected ascending ranges');
    }
  });

  test('impossible options', () => {
    expect(() => createNativeEngine({ threads: -1 })).toThrow(UserError);
    expect(() => createNativeEngine({ threads: 1.5 })).toThrow(UserError);
    const missing = process.arch === 'arm64' ? 'avx2' : 'neon';
    expect(() => createNativeEngine({ isa: missing })).toThrow(UserError);
  });
});

describe('engines', () => {
  test('take a thread for each core, and on a machine of many cores what the pool can start', () => {
    expect(threadCount(0, 16)).toBe(16);
    expect(threadCount(3, 16)).toBe(3);
    expect(threadCount(0, 384)).toBe(256);
    expect(threadCount(1000, 2)).toBe(256);
  });

  test('attend in batches of more heads than the pool counts tasks', async () => {
    const engine = engineOf(2);
    const b = 2 ** 19 + 3;
    const [qkv, out, lse] = [engine.alloc([b, 1, 3]), engine.alloc([b, 1, 1]), engine.alloc([2, b, 1, 1])];
    engine.upload(
      qkv,
      Float32Array.from({ length: 3 * b }, (_, i) => i),
    );
    engine.attentionForward({ qkv, nHead: 1, lse, out });
    // One token attends to itself alone: its value.
    expect(engine.hostView(out)!.every((x, i) => x === 3 * i + 2)).toBe(true);
  });

  test('are created and disposed many times without leaving a thread', async () => {
    const { readdirSync, existsSync } = await import('node:fs');
    const count = () => (existsSync('/proc/self/task') ? readdirSync('/proc/self/task').length : 0);
    const before = count();
    for (let i = 0; i < 50; i++) {
      const engine = createNativeEngine({ threads: 4 });
      const tensor = engine.alloc([100, 1000]);
      engine.zero(tensor);
      await engine.dispose();
    }
    expect(count()).toBeLessThanOrEqual(before);
  });

  test("measure the machine's limits", () => {
    const engine = engineOf(2);
    expect(engine.fmaLimit(0.001)).toBeGreaterThan(1e8);
    expect(engine.bf16Limit(0.001)).toBeGreaterThan(1e8);
    for (const size of [1, 250, 5 * 2 ** 18 + 3]) {
      const bandwidth = engine.readBandwidth(new Float32Array(size).fill(1), 0.001);
      expect(bandwidth > 0 && bandwidth < 1e14, `${size} numbers: ${bandwidth}`).toBe(true);
    }
  });

  test('are unusable once disposed', async () => {
    const engine = createNativeEngine({ threads: 2 });
    const tensor = engine.alloc([4]);
    await engine.dispose();
    await engine.dispose();
    expect(() => engine.zero(tensor)).toThrow('is disposed or was never created');
  });

  test('give released memory out again, aligned to cache lines', () => {
    const engine = engineOf(1);
    for (let i = 0; i < 3; i++) {
      const tensors = [engine.alloc([33, 7]), engine.alloc([33, 7], 'int32'), engine.alloc([5])];
      expect(engine.memory()).toEqual({ bytesInUse: 2 * 960 + 64, bytesPooled: 0, bytesPeak: 2 * 960 + 64 });
      for (const tensor of tensors) engine.release(tensor);
      expect(engine.memory().bytesPooled).toBe(2 * 960 + 64);
    }
    const group = engine.allocGroup([[3], [17], [16]]);
    expect(group.offsets).toEqual([0, 16, 48]);
    expect(group.length).toBe(64);
    for (const tensor of group.tensors) expect(addon().misalignment(engine.hostView(tensor)!)).toBe(0);
    expect(engine.hostRange(group, 0, group.length).every((x) => x === 0)).toBe(true);
  });
});
