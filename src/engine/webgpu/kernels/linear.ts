/** Linear layers: products with what follows them, and the sums over rows that are the gradients of biases. */
import type { KernelOptions } from '../../kernels.ts';
import { checkLinearBackward, checkLinearForward } from '../../linearOptions.ts';
import type { Gpu } from '../gpu.ts';
import { gpuTensor } from '../memory.ts';
import { columnSums } from './columnSums.ts';
import { product } from './product.ts';

export function linearForward(gpu: Gpu, options: KernelOptions<'linearForward'>): void {
  const { n, ic, oc, transposed } = checkLinearForward(options);
  const { bias, activation, residual, dropout, rowsApart = false } = options;
  const out = gpuTensor(options.out, 'out');
  const sampleSize = out.size / (out.shape[0] ?? 1);
  product(gpu, {
    out: { tensor: out },
    a: { tensor: gpuTensor(options.inp, 'inp') },
    b: { tensor: gpuTensor(options.weight, 'weight') },
    transposeB: transposed,
    m: n,
    n: oc,
    k: ic,
    rowsApart,
    half: options.operands === 'float16',
    epilogue: {
      bias: bias && gpuTensor(bias, 'bias'),
      activation: activation && {
        kind: activation.kind,
        preActivation: activation.preActivation && gpuTensor(activation.preActivation, 'preActivation'),
      },
      residual: residual && gpuTensor(residual, 'residual'),
      dropout: dropout && { options: dropout, sampleSize },
    },
  });
}

export function linearBackward(gpu: Gpu, options: KernelOptions<'linearBackward'>): void {
  const { n, ic, oc, transposed } = checkLinearBackward(options);
  const { dinp, accumulate, dinpActivation, dweight, dbias } = options;
  const half = options.operands === 'float16';
  const [dout, inp] = [{ tensor: gpuTensor(options.dout, 'dout') }, { tensor: gpuTensor(options.inp, 'inp') }];
  if (dinp !== undefined) {
    const slope = dinpActivation && {
      kind: dinpActivation.kind,
      preActivation: gpuTensor(dinpActivation.preActivation, 'preActivation'),
    };
    product(gpu, {
      out: { tensor: gpuTensor(dinp, 'dinp') },
      a: dout,
      b: { tensor: gpuTensor(options.weight, 'weight') },
      transposeB: !transposed,
      m: n,
      n: ic,
      k: oc,
      half,
      epilogue: { slope, accumulate },
    });
  }
  if (dweight !== undefined) {
    const [rows, columns] = transposed ? [dout, inp] : [inp, dout];
    product(gpu, {
      out: { tensor: gpuTensor(dweight, 'dweight') },
      a: rows,
      transposeA: true,
      b: columns,
      m: transposed ? oc : ic,
      n: transposed ? ic : oc,
      k: n,
      half,
      epilogue: { accumulate: true },
    });
  }
  if (dbias !== undefined) columnSums(gpu, { out: gpuTensor(dbias, 'dbias'), inp: dout.tensor, rows: n, columns: oc });
}
