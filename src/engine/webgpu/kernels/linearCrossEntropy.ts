/** The head of a model and its loss: the logits of some rows at a time, their softmax and gradients. */
import { expectTargets } from '../../hostIntegers.ts';
import type { KernelOptions } from '../../kernels.ts';
import { linearShape } from '../../linearOptions.ts';
import type { Gpu } from '../gpu.ts';
import { gpuTensor, hostIntegers } from '../memory.ts';
import { lossOfRows } from './crossEntropy.ts';
import { product } from './product.ts';
import { partOf, rowParts } from './rowParts.ts';
import { ofSize } from './sameSize.ts';

/** The most logits held at once. Each time, the gradient of the weight is read and written: a GPU needs many rows for that to be little. */
const LOGITS_MAX = 2 ** 26;

export function linearCrossEntropy(gpu: Gpu, options: KernelOptions<'linearCrossEntropy'>): void {
  const { n, ic, oc: v, transposed } = linearShape(options);
  const [inp, weight] = [gpuTensor(options.inp, 'inp'), gpuTensor(options.weight, 'weight')];
  const losses = ofSize(options.losses, 'losses', n);
  const targets = ofSize(options.targets, 'targets', n);
  const weights = options.weights && ofSize(options.weights, 'weights', n);
  const dinp = options.dinp && ofSize(options.dinp, 'dinp', inp.size);
  const dweight = options.dweight && ofSize(options.dweight, 'dweight', weight.size);
  expectTargets('linearCrossEntropy', hostIntegers(targets, 'targets'), v);
  const half = options.operands === 'float16';
  const hasGradient = dinp !== undefined || dweight !== undefined;
  // Rows start at multiples of four numbers, so that products read four at a time.
  const stride = Math.ceil(v / 4) * 4;
  for (const part of rowParts(gpu, n, stride, Math.min(LOGITS_MAX, gpu.bindingFloatsMax))) {
    const { first, rows } = part;
    gpu.withTemporary([rows, stride], (logits) => {
      const [ofInp, ofLogits] = [
        { tensor: inp, from: first * ic },
        { tensor: logits, stride },
      ];
      product(gpu, {
        out: ofLogits,
        a: ofInp,
        b: { tensor: weight },
        transposeB: transposed,
        m: rows,
        n: v,
        k: ic,
        half,
      });
      lossOfRows(gpu, {
        losses: partOf(losses, part, 1),
        targets: partOf(targets, part, 1),
        logits,
        dlogits: hasGradient ? 'inPlace' : undefined,
        weights: weights && partOf(weights, part, 1),
        rows,
        columns: v,
        stride,
        scale: options.scale ?? 1,
      });
      if (dinp !== undefined) {
        product(gpu, {
          out: { tensor: dinp, from: first * ic },
          a: ofLogits,
          b: { tensor: weight },
          transposeB: !transposed,
          m: rows,
          n: ic,
          k: v,
          half,
        });
      }
      if (dweight === undefined) return;
      product(gpu, {
        out: { tensor: dweight },
        a: transposed ? ofLogits : ofInp,
        transposeA: true,
        b: transposed ? ofInp : ofLogits,
        m: transposed ? v : ic,
        n: transposed ? ic : v,
        k: rows,
        half,
        epilogue: { accumulate: true },
      });
    });
  }
}
