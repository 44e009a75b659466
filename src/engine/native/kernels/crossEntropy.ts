/** Losses: of logits, and of a head whose logits exist for some rows at a time. */
import { lastExtent } from '../../../base/shape.ts';
import type { KernelOptions } from '../../kernels.ts';
import { linearShape, logitsRows } from '../../linearOptions.ts';
import { anyFloats, floats, ints } from '../checks.ts';
import type { OpenEngine } from '../openEngine.ts';

export function crossEntropy({ addon, handle }: OpenEngine, options: KernelOptions<'crossEntropy'>): void {
  const { losses, logits, targets, dlogits, weights } = options;
  const v = lastExtent(logits);
  const n = logits.size / v;
  addon.crossEntropy(
    handle,
    n,
    v,
    options.scale ?? 1,
    floats(losses, 'losses', n),
    floats(logits, 'logits'),
    ints(targets, 'targets', n),
    dlogits ? floats(dlogits, 'dlogits', logits.size) : null,
    weights ? floats(weights, 'weights', n) : null,
  );
}

export function linearCrossEntropy(
  { addon, handle, memory }: OpenEngine,
  options: KernelOptions<'linearCrossEntropy'>,
): void {
  const { losses, targets, inp, weight, dinp, dweight, weights } = options;
  const { n, ic, oc: v, transposed } = linearShape(options);
  const rows = logitsRows(n, v);
  const logits = memory.alloc([rows, v], 'float32');
  try {
    addon.linearCrossEntropy(
      handle,
      n,
      ic,
      v,
      rows,
      transposed,
      options.scale ?? 1,
      floats(losses, 'losses', n),
      floats(logits, 'logits'),
      dinp ? anyFloats(dinp, 'dinp', inp.size) : null,
      dweight ? floats(dweight, 'dweight', weight.size) : null,
      anyFloats(inp, 'inp'),
      floats(weight, 'weight'),
      ints(targets, 'targets', n),
      weights ? floats(weights, 'weights', n) : null,
    );
  } finally {
    memory.release(logits);
  }
}
