/** The WebGPU engine's float32 arithmetic in integers, on numbers of every kind: each result is the exact one, rounded once. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomBits, randomKey } from '../../../src/base/counterRandom.ts';
import type { Gpu } from '../../../src/engine/webgpu/gpu.ts';
import { openGpu } from '../../../src/engine/webgpu/openDevice.ts';
import { flatGroups, flatMain, memoized, program } from '../../../src/engine/webgpu/program.ts';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { type Estimates, softFloatOn } from '../../../src/engine/webgpu/wgsl/softFloat.ts';
import { whyUnavailable } from '../webgpu.ts';
import { exactFloat } from './exactFloat.ts';

type Operation = keyof typeof exactFloat;

/** Operands of each kind, for each operation. */
const COUNT = 100_000;

const magnitudes = [
  ...[0, 1, 0x400000, 0x7fffff], // zero and denormals
  ...[0x800000, 0x800001, 0xffffff, 0x1000000, 0x1fffffff, 0x20000000], // small
  ...[0x33000000, 0x33800000, 0x3f000000, 0x3f7fffff, 0x3f800000, 0x3f800001, 0x3fb504f3, 0x3fffffff, 0x40000000], // about 1
  ...[0x4b7fffff, 0x4b800000, 0x5f000000, 0x7e800000, 0x7effffff, 0x7f000000, 0x7f7fffff], // large
  ...[0x7f800000, 0x7f800001, 0x7fbfffff, 0x7fc00000, 0x7fffffff], // infinity and NaN
];
const specials = [...magnitudes, ...magnitudes.map((bits) => bits + 0x80000000)];

type Operands = readonly [a: number, b: number, c: number];
/** Random bits, different for each `of`. */
type Draw = (of: number) => number;
const signBit = 0x80000000;
const signed = (magnitude: number, sign: number): number => (magnitude | (sign & signBit)) >>> 0;
const withExponent = (bits: number, exponent: number): number =>
  signed((bits & 0x7fffff) | (Math.min(Math.max(exponent, 0), 255) << 23), bits);
const exponentOf = (bits: number): number => (bits >>> 23) & 0xff;
/** A significand with few ones or few zeros, whose products and sums are often halfway between two numbers. */
const sparse = (random: number): number => {
  const [one, other] = [1 << (random & 15), 1 << ((random >>> 4) & 15)];
  return ((random & 256) === 0 ? one | other : 0x800000 - one) & 0x7fffff;
};

/** Kinds of operands. Each function makes one from random bits. */
const kinds: Readonly<Record<string, (draw: Draw) => Operands>> = {
  'any bits': (draw) => [draw(0), draw(1), draw(2)],
  'numbers about 1': (draw) =>
    [0, 1, 2].map((of) => withExponent(draw(of), 117 + (draw(of + 3) % 20))) as unknown as Operands,
  'sparse significands': (draw) =>
    [0, 1, 2].map((of) =>
      signed(sparse(draw(of)) | ((100 + (draw(of + 3) % 54)) << 23), draw(of + 6)),
    ) as unknown as Operands,
  'products about the smallest normal number': (draw) => {
    const a = draw(0);
    const b = withExponent(draw(1), 127 - exponentOf(a) + (draw(2) % 4));
    return [a, b, withExponent(draw(3), draw(4) % 30)];
  },
  'quotients about the smallest normal number': (draw) => {
    const b = withExponent(draw(0), 127 + (draw(1) % 127));
    return [withExponent(draw(2) % 3 === 0 ? b : draw(3), exponentOf(b) - 128 + (draw(4) % 4)), b, 0];
  },
  'results about the largest number': (draw) => {
    const a = draw(0);
    const b = withExponent(draw(1), 379 - exponentOf(a) + (draw(2) % 4));
    return draw(3) % 2 === 0
      ? [a, b, withExponent(draw(4), 230 + (draw(5) % 25))]
      : [a, withExponent(b, exponentOf(a) - 128 + (draw(6) % 4)), 0];
  },
  'ties of products': (draw) => {
    // The significands have 12 and 13 bits. A product of 25 bits is halfway between two numbers.
    const [a, b] = [(draw(0) & 0x7fe000) | 0x1000, (draw(1) & 0x7fe000) | 0x800];
    const exponent = (of: number): number => (100 + (draw(of) % 54)) << 23;
    return [signed(a | exponent(2), draw(3)), signed(b | exponent(4), draw(5)), 0];
  },
  'sums that cancel': (draw) => {
    const [a, b] = [withExponent(draw(0), 70 + (draw(1) % 114)), withExponent(draw(2), 70 + (draw(3) % 114))];
    const product = exactFloat.multiply(a, b);
    return [a, b, ((product ^ signBit) + (draw(4) % 5) - 2) >>> 0];
  },
  'sums of terms far apart': (draw) => {
    const [a, b] = [withExponent(draw(0), 127), withExponent(draw(1) % 2 === 0 ? 0 : draw(2), 120)];
    const c = signed(draw(3) % 2 === 0 ? sparse(draw(4)) : draw(5) & 0x7fffff, draw(6));
    return [a, b, withExponent(c, 120 + (draw(7) % 140) - 70)];
  },
  'squares and numbers beside them': (draw) => {
    const root = signed(withExponent(draw(0) & 0x7ff000, 64 + (draw(1) % 126)), 0);
    return [exactFloat.multiply(root, root) + (draw(2) % 3) - 1, 0, 0].map((bits) => bits >>> 0) as unknown as Operands;
  },
};

const unavailable = await whyUnavailable(createWebgpuEngine);
if (unavailable !== undefined) process.stdout.write(`webgpu: not run: ${unavailable}\n`);

describe.runIf(unavailable === undefined)('float32 arithmetic in integers', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu?.close());

  const operations: readonly Operation[] = ['multiply', 'divide', 'squareRoot', 'multiplyAdd'];

  it('all operations on all pairs and triples of special numbers', async () => {
    const pairs = specials.flatMap((a) => specials.map((b): Operands => [a, b, 0]));
    for (const operation of operations) await expectExact(operation, pairs);
    const triples = pairs.flatMap(([a, b]) => specials.map((c): Operands => [a, b, c]));
    await expectExact('multiplyAdd', triples);
  });

  it.each(Object.keys(kinds))('all operations on %s', async (kind) => {
    const operands = operandsOf(kinds[kind]!, Object.keys(kinds).indexOf(kind), COUNT);
    for (const operation of operations) await expectExact(operation, operands);
  });

  it.each([-3, -2, -1, 1, 2, 3])('division and square root with estimates that are off by %d', async (error) => {
    const operands = specials.flatMap((a) => specials.map((b): Operands => [a, b, 0]));
    for (const [k, make] of Object.values(kinds).entries()) operands.push(...operandsOf(make, k, COUNT / 20));
    await expectExact('divide', operands, error);
    await expectExact('squareRoot', operands, error);
  });

  async function expectExact(operation: Operation, operands: readonly Operands[], estimateError = 0): Promise<void> {
    const columns = [0, 1, 2].map((of) => Uint32Array.from(operands, (values) => values[of]!));
    const results = await resultsOf(programOf(operation, estimateError), columns);
    const wrong = operands.flatMap(([a, b, c], i) => {
      const expected = exactFloat[operation](a, b, c);
      return results[i] === expected
        ? []
        : [{ operands: [a, b, c].map(hex), result: hex(results[i]!), expected: hex(expected) }];
    });
    expect(wrong.slice(0, 5), `${operation}: ${wrong.length} of ${operands.length}`).toEqual([]);
  }

  async function resultsOf(operation: OperationProgram, columns: readonly Uint32Array[]): Promise<Uint32Array> {
    const { length } = columns[0]!;
    const [out, a, b, c] = ['out', 'a', 'b', 'c'].map(() => gpu.memory.alloc([length], 'int32'));
    for (const [i, tensor] of [a, b, c].entries()) {
      gpu.commands.write(tensor!.buffer, 0, new Int32Array(columns[i]!.buffer));
    }
    gpu.run(operation, {
      tensors: { out: out!, a: a!, b: b!, c: c! },
      params: { count: length },
      groups: flatGroups(length),
    });
    const results = new Int32Array(length);
    await gpu.transfers.read(out!.buffer, 0, results);
    for (const tensor of [out, a, b, c]) gpu.memory.release(tensor!);
    return new Uint32Array(results.buffer);
  }
});

const call: Readonly<Record<Operation, string>> = {
  multiply: 'multiply(a[i], b[i])',
  divide: 'divide(a[i], b[i])',
  squareRoot: 'squareRoot(a[i])',
  multiplyAdd: 'multiplyAdd(a[i], b[i], c[i])',
};

type OperationProgram = ReturnType<typeof programOf>;

/** The device's estimates, moved by some units in the last place: other devices have other estimates. */
const programOf = memoized((operation: Operation, estimateError: number) =>
  program({
    name: operation,
    bindings: { out: 'read_write u32', a: 'read u32', b: 'read u32', c: 'read u32' },
    params: { count: 'u32' },
    code: softFloatOn(estimates(estimateError)) + flatMain(`out[i] = ${call[operation]};`),
  }),
);

function estimates(error: number): Estimates {
  const moved = (estimate: string) => `bitcast<f32>(bitcast<i32>(${estimate}) + (${error}))`;
  return { quotient: moved('x / y'), root: moved('sqrt(x)') };
}

function operandsOf(make: (draw: Draw) => Operands, seed: number, count: number): Operands[] {
  const key = randomKey(seed);
  return Array.from({ length: count }, (_, i) => make((of) => randomBits(key, 16 * i + of)));
}

function hex(bits: number): string {
  return bits.toString(16).padStart(8, '0');
}
