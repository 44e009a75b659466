/** Documents that share a sample do not reach each other, bit for bit, on every instruction set and number of threads. */
import { afterEach, describe, expect, it } from 'vitest';
import { loadNative } from '../../../src/engine/native/loadNative.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { toBfloat16 } from './bfloat16.ts';
import { startsOf } from './documentCases.ts';
import { KernelContext, seededDropout, seededValues } from './harness.ts';

const load = loadNative();
const sets = 'addon' in load ? load.addon.instructionSets() : [];
const [nHead, headSize] = [3, 20];
const c = nHead * headSize;
const types = ['float32', 'bfloat16'] as const;

interface Operands {
  readonly qkv: Float32Array;
  readonly dout: Float32Array;
  readonly starts?: Int32Array;
}

/** Results of both passes over one sample: out [T, C] and dqkv [T, 3C]. */
async function attend(k: KernelContext, dtype: (typeof types)[number], { qkv, dout, starts }: Operands) {
  const t = dout.length / c;
  const put = (columns: number, data: Float32Array) =>
    k.put([1, t, columns], dtype === 'bfloat16' ? toBfloat16(data) : data);
  const [out, dqkv, lse] = [k.out([1, t, c], dtype), k.out([1, t, 3 * c], dtype), k.out([2, 1, nHead, t])];
  const documents = starts && { starts: k.put([1, t], starts) };
  const options = { qkv: put(3 * c, qkv), nHead, lse, out, dropout: seededDropout(3, 0.2), ...documents };
  k.engine.attentionForward(options);
  k.engine.attentionBackward({ ...options, dqkv, dout: put(c, dout) });
  return { out: await k.read(out), dqkv: await k.read(dqkv), lse: await k.read(lse) };
}

const operands = (t: number): Operands => ({ qkv: seededValues(1, t * 3 * c), dout: seededValues(2, t * c) });

describe.each(sets)('documents on %s', (isa) => {
  const contexts: KernelContext[] = [];
  const contextOf = (threads: number) => {
    const k = new KernelContext(createNativeEngine({ isa, threads }), 1);
    contexts.push(k);
    return k;
  };
  afterEach(async () => {
    for (const k of contexts.splice(0)) {
      k.releaseAll();
      await k.engine.dispose();
    }
  });

  it.each(types)('one document has the bits of attention without documents: %s', async (dtype) => {
    const k = contextOf(2);
    for (const t of [1, 17, 96, 97, 193]) {
      const plain = operands(t);
      expect(await attend(k, dtype, { ...plain, starts: new Int32Array(t) }), `T=${t}`).toEqual(
        await attend(k, dtype, plain),
      );
    }
  });

  it.each(types)('no number of a document changes a bit of another: %s', async (dtype) => {
    const k = contextOf(2);
    // At, before and after the edges of blocks, with documents that span several and documents that share one.
    for (const lengths of [
      [48, 48],
      [32, 96],
      [5, 11, 140],
      [100, 93],
      [1, 1, 62],
    ]) {
      const starts = startsOf([lengths]);
      const first = lengths[0]!;
      const plain = { ...operands(starts.length), starts };
      const other = (values: Float32Array, columns: number) =>
        values.map((value, i) => (i < first * columns ? -3 * value + 1 : value));
      const changed = { starts, qkv: other(plain.qkv, 3 * c), dout: other(plain.dout, c) };
      const [before, after] = [await attend(k, dtype, plain), await attend(k, dtype, changed)];
      for (const [name, columns] of [
        ['out', c],
        ['dqkv', 3 * c],
      ] as const) {
        expect(after[name].subarray(first * columns), `${name} of ${lengths}`).toEqual(
          before[name].subarray(first * columns),
        );
        expect(after[name].subarray(0, first * columns)).not.toEqual(before[name].subarray(0, first * columns));
      }
    }
  });

  it.each(types)('has the same bits for any number of threads: %s', async (dtype) => {
    const starts = startsOf([[5, 11, 140, 1, 30]]);
    const plain = { ...operands(starts.length), starts };
    expect(await attend(contextOf(3), dtype, plain)).toEqual(await attend(contextOf(1), dtype, plain));
  });
});
