/** Linear layers, with what follows them. */
import type { KernelOptions } from '../../kernels.ts';
import { checkLinearBackward, checkLinearForward } from '../../linearOptions.ts';
import { anyFloats, floats, keysOf } from '../checks.ts';
import type { OpenEngine } from '../openEngine.ts';

export function linearForward({ addon, handle }: OpenEngine, options: KernelOptions<'linearForward'>): void {
  const { out, bias, inp, weight, activation, residual, dropout, rowsApart = false } = options;
  const { n, ic, oc, transposed } = checkLinearForward(options);
  const samples = dropout ? (out.shape[0] ?? 1) : 1;
  addon.linearForward(
    handle,
    n,
    ic,
    oc,
    transposed,
    rowsApart,
    samples,
    activation?.kind ?? 'none',
    anyFloats(out, 'out', n * oc),
    activation?.preActivation ? anyFloats(activation.preActivation, 'preActivation', n * oc) : null,
    anyFloats(inp, 'inp'),
    floats(weight, 'weight'),
    bias ? floats(bias, 'bias', oc) : null,
    residual ? anyFloats(residual, 'residual', n * oc) : null,
    dropout?.rate ?? 0,
    dropout ? keysOf(dropout, samples) : null,
  );
}

export function linearBackward({ addon, handle }: OpenEngine, options: KernelOptions<'linearBackward'>): void {
  const { dinp, dinpActivation, dweight, dbias, dout, inp, weight } = options;
  const { n, ic, oc, transposed } = checkLinearBackward(options);
  addon.linearBackward(
    handle,
    n,
    ic,
    oc,
    transposed,
    options.accumulate ?? false,
    dinpActivation?.kind ?? 'none',
    dinp ? anyFloats(dinp, 'dinp', inp.size) : null,
    dinpActivation ? anyFloats(dinpActivation.preActivation, 'preActivation', inp.size) : null,
    dweight ? floats(dweight, 'dweight', weight.size) : null,
    dbias ? floats(dbias, 'dbias', oc) : null,
    anyFloats(dout, 'dout', n * oc),
    anyFloats(inp, 'inp'),
    floats(weight, 'weight'),
  );
}
