/** Kernel suite: what Muon needs besides products, and AdamW for some of the tensors. */
import { describe, expect, it } from 'vitest';
import { InvariantError } from '../../../src/base/errors.ts';
import { type ContextGetter, seededValues } from './harness.ts';

export function matrixPartCases(context: ContextGetter): void {
  describe('weighted sums of parts of matrices', () => {
    it.each([
      { rows: 3, columns: 2, places: 'inside of three matrices' },
      { rows: 70, columns: 300, places: 'inside of three matrices' },
      { rows: 5, columns: 7, places: 'of complete matrices' },
      { rows: 130, columns: 257, places: 'of complete matrices' },
    ])('$rows×$columns, $places', async ({ rows, columns, places }) => {
      const k = context();
      const isPart = places === 'inside of three matrices';
      const place = (seed: number, above: number, left: number, right: number) => {
        const [row, column, width] = isPart ? [above, left, left + columns + right] : [0, 0, columns];
        const shape = [rows + (isPart ? above + 1 : 0), width] as const;
        const values = seededValues(seed, shape[0] * shape[1]);
        return { row, column, width, values, tensor: k.put(shape, values) };
      };
      const [out, a, b] = [place(1, 2, 1, 3), place(2, 0, 5, 0), place(3, 4, 0, 66)];
      const sum = (first: typeof a) => {
        const values = Float64Array.from(out.values);
        for (let row = 0; row < rows; row++) {
          for (let column = 0; column < columns; column++) {
            const at = (of: typeof a) => (of.row + row) * of.width + of.column + column;
            values[at(out)] = 0.75 * first.values[at(first)]! - 2 * b.values[at(b)]!;
          }
        }
        return values;
      };
      const shared = { rows, columns, b, scaleA: 0.75, scaleB: -2 };
      k.engine.weightedSum({ ...shared, out, a });
      await k.expectClose(out.tensor, sum(a), 'add', 'out', 3);
      k.engine.upload(out.tensor, out.values);
      k.engine.weightedSum({ ...shared, out, a: out });
      await k.expectClose(out.tensor, sum(out), 'add', 'out = a', 3);
      expect(await k.read(b.tensor)).toEqual(b.values);
    });

    it('refuses a part outside of its matrix, and an out that covers what it reads', () => {
      const k = context();
      const [one, other] = [k.put([4, 4], new Float32Array(16)), k.put([4, 4], new Float32Array(16))];
      const shared = { rows: 2, columns: 2, scaleA: 1, scaleB: 1, a: { tensor: one }, b: { tensor: other } };
      const refused = (options: object) =>
        expect(() => k.engine.weightedSum({ ...shared, out: { tensor: one }, ...options })).toThrow(InvariantError);
      refused({ out: { tensor: one, row: 3 } });
      refused({ b: { tensor: other, column: 3 } });
      refused({ out: { tensor: one, row: 1 } });
      refused({ out: { tensor: other } });
    });
  });

  describe('a matrix divided by its norm', () => {
    it.each([
      { size: 1, factor: 1 },
      { size: 77, factor: 1e-4 },
      { size: 40_013, factor: 1 },
      { size: 77, factor: 1e-12 },
    ])('of $size numbers up to $factor', async ({ size, factor }) => {
      const k = context();
      const values = seededValues(1, size).map((value) => value * factor);
      const tensor = k.put([1, size], values);
      k.engine.normalise({ tensor, eps: 1e-7 });
      const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
      const expected = Float64Array.from(values, (value) => value / Math.max(norm, 1e-7));
      await k.expectClose(tensor, expected, 'squaredNorm', 'values');
    });
  });

  it('AdamW updates the named tensors as if there were no others', async () => {
    const k = context();
    const sizes = [65, 3, 4_000, 70, 1, 129];
    const tensors = [1, 2, 5];
    const groupOf = (shapes: readonly number[]) => k.engine.allocGroup(shapes.map((size) => [size]));
    const some = tensors.map((i) => sizes[i]!);
    const all = { params: groupOf(sizes), grads: groupOf(sizes), m: groupOf(sizes), v: groupOf(some) };
    const few = { params: groupOf(some), grads: groupOf(some), m: groupOf(some), v: groupOf(some) };
    const averages = [groupOf(sizes), groupOf(some)] as const;
    for (const [i, size] of sizes.entries()) {
      for (const block of ['params', 'grads'] as const) {
        const values = seededValues(block === 'params' ? i : 50 + i, size);
        k.engine.upload(all[block].tensors[i]!, values);
        if (tensors.includes(i)) k.engine.upload(few[block].tensors[tensors.indexOf(i)]!, values);
      }
    }
    const settings = { learningRate: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, gradScale: 0.5, zeroGrads: true };
    const weightDecay = sizes.map((_, i) => i / 10);
    for (const step of [1, 2]) {
      const average = averages.map((group) => ({ group, weight: 1 / step }));
      k.engine.adamw({ ...all, ...settings, step, tensors, weightDecay, average: average[0]! });
      const decays = tensors.map((i) => weightDecay[i]!);
      k.engine.adamw({ ...few, ...settings, step, weightDecay: decays, average: average[1]! });
    }
    for (const [at, i] of tensors.entries()) {
      for (const block of ['params', 'grads', 'm'] as const) {
        expect(await k.read(all[block].tensors[i]!), `${block} ${i}`).toEqual(await k.read(few[block].tensors[at]!));
      }
      expect(await k.read(all.v.tensors[at]!)).toEqual(await k.read(few.v.tensors[at]!));
      expect(await k.read(averages[0].tensors[i]!)).toEqual(await k.read(averages[1].tensors[at]!));
    }
    for (const i of [0, 3, 4]) {
      expect(await k.read(all.params.tensors[i]!)).toEqual(seededValues(i, sizes[i]!));
      expect(await k.read(all.grads.tensors[i]!)).toEqual(seededValues(50 + i, sizes[i]!));
    }
    expect(() => k.engine.adamw({ ...all, ...settings, step: 3, tensors: [1, 2, 3], weightDecay })).toThrow(
      InvariantError,
    );
  });
}
