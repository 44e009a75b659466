/** Activations by themselves, and gated ones. */
import { gatedShape } from '../../gatedOptions.ts';
import type { KernelOptions } from '../../kernels.ts';
import { anyFloats } from '../checks.ts';
import type { OpenEngine } from '../openEngine.ts';

export function activationForward(
  { addon, handle }: OpenEngine,
  { kind, out, inp }: KernelOptions<'activationForward'>,
): void {
  addon.activationForward(handle, inp.size, kind, anyFloats(out, 'out', inp.size), anyFloats(inp, 'inp'));
}

export function activationBackward({ addon, handle }: OpenEngine, options: KernelOptions<'activationBackward'>): void {
  const { kind, dinp, dout, inp } = options;
  addon.activationBackward(
    handle,
    inp.size,
    kind,
    anyFloats(dinp, 'dinp', inp.size),
    anyFloats(dout, 'dout', inp.size),
    anyFloats(inp, 'inp'),
  );
}

export function gatedActivationForward(
  { addon, handle }: OpenEngine,
  { kind, out, inp }: KernelOptions<'gatedActivationForward'>,
): void {
  const { n, inner } = gatedShape('gatedActivationForward', inp, out);
  addon.gatedActivationForward(handle, n, inner, kind, anyFloats(out, 'out'), anyFloats(inp, 'inp'));
}

export function gatedActivationBackward(
  { addon, handle }: OpenEngine,
  { kind, dinp, dout, inp }: KernelOptions<'gatedActivationBackward'>,
): void {
  const { n, inner } = gatedShape('gatedActivationBackward', inp, dout);
  addon.gatedActivationBackward(
    handle,
    n,
    inner,
    kind,
    anyFloats(dinp, 'dinp', inp.size),
    anyFloats(dout, 'dout'),
    anyFloats(inp, 'inp'),
  );
}
