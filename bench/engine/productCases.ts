/** The matrix products of linear layers, each as the case of a bench and as what another library is asked to compute. */
import type { Engine } from '../../src/engine/engine.ts';
import type { LinearOptions } from '../../src/engine/linearOptions.ts';
import type { EnginePrecision } from '../../src/engine/precision.ts';
import { cycledValues, type KernelCase, type MakeTensor, type PreparedCase } from './kernelCase.ts';
import type { Product } from './productPeers.ts';

/** A linear layer on N rows; the weight of a tied head lies as [OC, IC]. */
export interface LinearShape {
  readonly n: number;
  readonly ic: number;
  readonly oc: number;
  readonly weightTransposed: boolean;
}

/** The three products of a layer one by one, then its backward as training calls it, with the bias and both gradients. */
export function linearCases(shape: LinearShape): KernelCase[] {
  const { n, ic, oc, weightTransposed } = shape;
  return [
    ...productCases(shape, 'float32'),
    {
      name: 'linearBackward',
      shape: `${n}×${ic}×${oc}`,
      flops: 4 * n * ic * oc,
      prepare: (engine, tensor) => {
        const inputs = { inp: tensor(n, ic), weight: tensor(...weightShape(shape)), dout: tensor(n, oc) };
        const gradients = { dinp: tensor(n, ic), dweight: tensor(...weightShape(shape)), dbias: tensor(oc) };
        return { call: () => engine.linearBackward({ ...inputs, weightTransposed, ...gradients }) };
      },
    },
    ...productCases(shape, 'bf16'),
    ...productCases(shape, 'f16'),
  ];
}

/**
 * With bfloat16 activations or gradients, Lockstep rounds the float32 weight while packing it; the other libraries get it rounded. With `f16`
 * it rounds both factors, which are float32 in memory; no other library is asked for that.
 */
function productCases(shape: LinearShape, precision: EnginePrecision): KernelCase[] {
  const { n, ic, oc, weightTransposed } = shape;
  const product = { dtype: precision === 'bf16' ? 'bf16' : 'f32', transposedA: false, accumulate: false } as const;
  const forward: Product = { ...product, m: n, k: ic, n: oc, transposedB: weightTransposed };
  const dinp: Product = { ...product, m: n, k: oc, n: ic, transposedB: !weightTransposed };
  const [m, columns] = weightShape(shape);
  const dweight: Product = { ...product, m, k: n, n: columns, transposedA: true, transposedB: false, accumulate: true };
  const caseOf = (name: string, of: Product, prepare: KernelCase['prepare']): KernelCase => ({
    name: `${name} ${of.transposedA ? 'T' : 'N'}${of.transposedB ? 'T' : 'N'}${precision === 'float32' ? '' : ` ${precision}`}`,
    shape: `${n}×${ic}×${oc}`,
    flops: 2 * n * ic * oc,
    precision,
    ...(precision !== 'f16' && { product: of }),
    prepare,
  });
  const activation = (tensor: MakeTensor, bf16Tensor: MakeTensor): MakeTensor =>
    precision === 'bf16' ? bf16Tensor : tensor;
  const operands = precision === 'f16' ? ({ operands: 'float16' } as const) : {};
  return [
    caseOf('linearForward', forward, (engine, tensor, half) =>
      prepareForward(engine, forward, operands, tensor, activation(tensor, half)),
    ),
    caseOf('linearBackward dinp', dinp, (engine, tensor, half) =>
      prepareForward(engine, dinp, operands, tensor, activation(tensor, half)),
    ),
    caseOf('linearBackward dweight', dweight, (engine, tensor, half) =>
      prepareDweight(engine, { ...shape, ...operands }, tensor, activation(tensor, half)),
    ),
  ];
}

/** The layers of an MLP from C to 4C channels and back as training calls them, with all that is fused into them. */
export function fusedCases(n: number, c: number): KernelCase[] {
  const wide = 4 * c;
  const flops = 2 * n * c * wide;
  return [
    {
      name: 'linearForward gelu',
      shape: `${n}×${c}×${wide}`,
      flops,
      prepare: (engine, tensor) => {
        const layer = { inp: tensor(n, c), weight: tensor(c, wide), bias: tensor(wide), out: tensor(n, wide) };
        const activation = { kind: 'gelu', preActivation: tensor(n, wide) } as const;
        return { call: () => engine.linearForward({ ...layer, activation }) };
      },
    },
    {
      name: 'linearForward residual',
      shape: `${n}×${wide}×${c}`,
      flops,
      prepare: (engine, tensor) => {
        const layer = { inp: tensor(1, n, wide), weight: tensor(wide, c), bias: tensor(c) };
        const dropout = { rate: 0.2, seed: 1, step: 1, firstSample: 0, site: 0 };
        const [out, residual] = [tensor(1, n, c), tensor(1, n, c)];
        return { call: () => engine.linearForward({ ...layer, out, residual, dropout }) };
      },
    },
    {
      name: 'linearBackward gelu',
      shape: `${n}×${wide}×${c}`,
      flops: 2 * flops,
      prepare: (engine, tensor) => {
        const inputs = { inp: tensor(n, wide), weight: tensor(wide, c), dout: tensor(n, c) };
        const gradients = { dinp: tensor(n, wide), dweight: tensor(wide, c), dbias: tensor(c) };
        const dinpActivation = { kind: 'gelu', preActivation: tensor(n, wide) } as const;
        return { call: () => engine.linearBackward({ ...inputs, ...gradients, dinpActivation }) };
      },
    },
  ];
}

/** The head with its loss and both gradients. */
export function headCase(n: number, c: number, v: number): KernelCase {
  return {
    name: 'linearCrossEntropy',
    shape: `${n}×${c}×${v}`,
    flops: 6 * n * c * v,
    prepare: (engine, tensor) => {
      const [inp, weight, losses] = [tensor(n, c), tensor(v, c), tensor(n)];
      const gradients = { dinp: tensor(n, c), dweight: tensor(v, c) };
      // Logits near 0, as when training starts: of large ones most probabilities are denormal, which is slow.
      engine.upload(weight, cycledValues(weight.size, 0.01));
      const targets = engine.alloc([n], 'int32');
      engine.zero(targets);
      const head = { inp, weight, weightTransposed: true, losses, targets };
      return { call: () => engine.linearCrossEntropy({ ...head, ...gradients, scale: 1 / n }) };
    },
  };
}

/** The gradient of the inputs is a forward product with the weight lying the other way. */
function prepareForward(
  engine: Engine,
  { m, k, n, transposedB }: Product,
  operands: Pick<LinearOptions, 'operands'>,
  tensor: MakeTensor,
  activation: MakeTensor,
): PreparedCase {
  const inp = activation(m, k);
  const weight = transposedB ? tensor(n, k) : tensor(k, n);
  const out = tensor(m, n);
  return {
    call: () => engine.linearForward({ inp, weight, weightTransposed: transposedB, out, ...operands }),
    result: out,
  };
}

function prepareDweight(
  engine: Engine,
  shape: LinearShape & Pick<LinearOptions, 'operands'>,
  tensor: MakeTensor,
  activation: MakeTensor,
): PreparedCase {
  const { n, ic, oc, weightTransposed, operands } = shape;
  const [inp, dout] = [activation(n, ic), activation(n, oc)];
  const dweight = tensor(...weightShape(shape));
  engine.zero(dweight);
  // Without `dinp` the weight itself is not read.
  return {
    call: () =>
      engine.linearBackward({ inp, weight: dweight, weightTransposed, dout, dweight, ...(operands && { operands }) }),
    result: dweight,
  };
}

function weightShape({ ic, oc, weightTransposed }: LinearShape): [number, number] {
  return weightTransposed ? [oc, ic] : [ic, oc];
}
