/** Norms by the root mean square. */
import { lastExtent } from '../../../base/shape.ts';
import type { KernelOptions } from '../../kernels.ts';
import { checkGradients } from '../../linearOptions.ts';
import { anyFloats, floats } from '../checks.ts';
import type { OpenEngine } from '../openEngine.ts';

export function rmsNormForward(
  { addon, handle }: OpenEngine,
  { out, rstd, inp, weight, eps }: KernelOptions<'rmsNormForward'>,
): void {
  const c = lastExtent(inp);
  const n = inp.size / c;
  addon.rmsNormForward(
    handle,
    n,
    c,
    eps,
    anyFloats(out, 'out', inp.size),
    floats(rstd, 'rstd', n),
    floats(inp, 'inp'),
    floats(weight, 'weight', c),
  );
}

export function rmsNormBackward({ addon, handle }: OpenEngine, options: KernelOptions<'rmsNormBackward'>): void {
  const { dinp, dweight, dout, inp, weight, rstd } = options;
  checkGradients('rmsNormBackward', dinp, dweight);
  const c = lastExtent(inp);
  const n = inp.size / c;
  addon.rmsNormBackward(
    handle,
    n,
    c,
    options.accumulate ?? false,
    dinp ? floats(dinp, 'dinp', inp.size) : null,
    dweight ? floats(dweight, 'dweight', c) : null,
    anyFloats(dout, 'dout', inp.size),
    floats(inp, 'inp'),
    floats(weight, 'weight', c),
    floats(rstd, 'rstd', n),
  );
}
