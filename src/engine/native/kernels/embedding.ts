/** Rows of the token and position tables, and the sums of gradients that go to them. */
import { lastExtent } from '../../../base/shape.ts';
import type { KernelOptions } from '../../kernels.ts';
import { checkGradients, matrix } from '../../linearOptions.ts';
import { floats, ints, startsOf } from '../checks.ts';
import type { OpenEngine } from '../openEngine.ts';

export function embeddingForward({ addon, handle }: OpenEngine, options: KernelOptions<'embeddingForward'>): void {
  const { out, tokens, wte, wpe } = options;
  const [b, t] = matrix(tokens, 'tokens');
  const c = lastExtent(wte);
  const v = wte.size / c;
  addon.embeddingForward(
    handle,
    b,
    t,
    c,
    v,
    wpe ? matrix(wpe, 'wpe')[0] : 0,
    options.positionOffset ?? 0,
    options.scale ?? 1,
    floats(out, 'out', b * t * c),
    ints(tokens, 'tokens'),
    floats(wte, 'wte'),
    wpe ? floats(wpe, 'wpe') : null,
    startsOf('embeddingForward', options, b, t),
  );
}

export function embeddingBackward({ addon, handle }: OpenEngine, options: KernelOptions<'embeddingBackward'>): void {
  const { dout, tokens, dwte, dwpe } = options;
  checkGradients('embeddingBackward', dwte, dwpe);
  const [b, t] = matrix(tokens, 'tokens');
  const c = lastExtent(dout);
  addon.embeddingBackward(
    handle,
    b,
    t,
    c,
    dwte ? matrix(dwte, 'dwte')[0] : 1,
    dwpe ? matrix(dwpe, 'dwpe')[0] : 0,
    options.scale ?? 1,
    dwte ? floats(dwte, 'dwte') : null,
    dwpe ? floats(dwpe, 'dwpe') : null,
    floats(dout, 'dout', b * t * c),
    ints(tokens, 'tokens'),
    startsOf('embeddingBackward', options, b, t),
  );
}
