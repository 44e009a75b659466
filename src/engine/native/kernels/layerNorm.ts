/** Layer norms. */
import { lastExtent } from '../../../base/shape.ts';
import type { KernelOptions } from '../../kernels.ts';
import { checkGradients } from '../../linearOptions.ts';
import { anyFloats, floats } from '../checks.ts';
import type { OpenEngine } from '../openEngine.ts';

export function layerNormForward({ addon, handle }: OpenEngine, options: KernelOptions<'layerNormForward'>): void {
  const { out, mean, rstd, inp, weight, bias, eps } = options;
  const c = lastExtent(inp);
  const n = inp.size / c;
  addon.layerNormForward(
    handle,
    n,
    c,
    eps,
    anyFloats(out, 'out', inp.size),
    floats(mean, 'mean', n),
    floats(rstd, 'rstd', n),
    floats(inp, 'inp'),
    floats(weight, 'weight', c),
    bias ? floats(bias, 'bias', c) : null,
  );
}

export function layerNormBackward({ addon, handle }: OpenEngine, options: KernelOptions<'layerNormBackward'>): void {
  const { dinp, dweight, dbias, dout, inp, weight, mean, rstd } = options;
  checkGradients('layerNormBackward', dinp, dweight, dbias);
  const c = lastExtent(inp);
  const n = inp.size / c;
  addon.layerNormBackward(
    handle,
    n,
    c,
    options.accumulate ?? false,
    dinp ? floats(dinp, 'dinp', inp.size) : null,
    dweight ? floats(dweight, 'dweight', c) : null,
    dbias ? floats(dbias, 'dbias', c) : null,
    anyFloats(dout, 'dout', inp.size),
    floats(inp, 'inp'),
    floats(weight, 'weight', c),
    floats(mean, 'mean', n),
    floats(rstd, 'rstd', n),
  );
}
