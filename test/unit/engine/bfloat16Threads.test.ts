/** Products of bfloat16 numbers are cut by the number of threads, and sum the same: bit for bit, on every unit of this machine. */
import { afterEach, expect, test } from 'vitest';
import { randomKey, randomUniform } from '../../../src/base/counterRandom.ts';
import type { InstructionSet } from '../../../src/base/instructionSets.ts';
import { loadNative } from '../../../src/engine/native/loadNative.ts';
import { createNativeEngine, type NativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import type { DType, Shape, Tensor } from '../../../src/engine/tensor.ts';

const engines: NativeEngine[] = [];

afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.dispose()));
});

function instructionSets(): readonly InstructionSet[] {
  const load = loadNative();
  if ('error' in load) throw new Error(load.error);
  return load.addon.instructionSets();
}

/** Tensors of seeded values in [-1, 1): as bfloat16, the upper halves of them. */
function tensorsOf(engine: NativeEngine) {
  let seed = 0;
  return (shape: Shape, dtype: DType = 'bfloat16'): Tensor => {
    const tensor = engine.alloc(shape, dtype);
    const key = randomKey(seed++);
    const values = Float32Array.from({ length: tensor.size }, (_, i) => 2 * randomUniform(key, i) - 1);
    const halves = () => Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
    engine.upload(tensor, dtype === 'bfloat16' ? halves() : values);
    return tensor;
  };
}

/** The bytes of everything that a linear layer, attention and a head leave, with weights cut into several parts and into one. */
async function run(isa: InstructionSet, threads: number): Promise<Buffer> {
  const engine = createNativeEngine({ threads, isa });
  engines.push(engine);
  const tensor = tensorsOf(engine);
  const results: Tensor[] = [];
  const shapes = [
    [70, 96, 288],
    [40, 1060, 1090],
    [3, 5, 17_000],
  ] as const;
  for (const [n, ic, oc] of shapes) {
    for (const weightTransposed of [false, true]) {
      const weight = tensor(weightTransposed ? [oc, ic] : [ic, oc], 'float32');
      const layer = { inp: tensor([n, ic]), weight, weightTransposed };
      const [out, dinp] = [tensor([n, oc]), tensor([n, ic])];
      const [dweight, dbias] = [tensor(weight.shape, 'float32'), tensor([oc], 'float32')];
      engine.linearForward({ ...layer, bias: tensor([oc], 'float32'), out });
      engine.linearBackward({ ...layer, dout: tensor([n, oc]), dinp, dweight, dbias });
      results.push(out, dinp, dweight, dbias);
    }
  }
  const [b, t, nHead, c, v] = [3, 70, 3, 96, 65];
  const attention = { qkv: tensor([b, t, 3 * c]), nHead, lse: tensor([2, b, nHead, t], 'float32') };
  const [out, dqkv] = [tensor([b, t, c]), tensor([b, t, 3 * c])];
  engine.attentionForward({ ...attention, out });
  engine.attentionBackward({ ...attention, out, dout: tensor([b, t, c]), dqkv });
  const targets = engine.alloc([b * t], 'int32');
  engine.upload(targets, new Int32Array(b * t).fill(7));
  const [losses, dinp, dweight] = [tensor([b * t], 'float32'), tensor([b * t, c]), tensor([v, c], 'float32')];
  const head = { inp: tensor([b * t, c]), weight: tensor([v, c], 'float32'), weightTransposed: true, dinp, dweight };
  engine.linearCrossEntropy({ ...head, losses, targets, scale: 1 });
  results.push(out, dqkv, losses, dinp, dweight);
  const bytes = await Promise.all(
    results.map(async (result) => {
      const data = result.dtype === 'bfloat16' ? new Uint16Array(result.size) : new Float32Array(result.size);
      await engine.download(result, data);
      return new Uint8Array(data.buffer);
    }),
  );
  return Buffer.concat(bytes);
}

test.each(instructionSets())('%s: the same bits with 1, 2, 3 and 8 threads', async (isa) => {
  const one = await run(isa, 1);
  for (const threads of [2, 3, 8]) expect(one.equals(await run(isa, threads)), `${threads} threads`).toBe(true);
});
