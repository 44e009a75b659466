/** Rotary position embedding. */
import type { KernelOptions } from '../../kernels.ts';
import { expectPositions, ropeShape } from '../../ropeOptions.ts';
import { anyFloats, floats, ints, startsOf } from '../checks.ts';
import type { OpenEngine } from '../openEngine.ts';

export function rope({ addon, handle }: OpenEngine, options: KernelOptions<'rope'>): void {
  const { out, inp, table, heads, positions, inverse = false } = options;
  const { b, t, width, headSize, rows } = ropeShape(options);
  const first = positions ? ints(positions, 'positions') : null;
  expectPositions(first, t, rows);
  addon.rope(
    handle,
    b,
    t,
    width,
    heads,
    headSize,
    rows,
    inverse,
    anyFloats(out, 'out'),
    anyFloats(inp, 'inp'),
    floats(table, 'table'),
    first,
    startsOf('rope', options, b, t),
  );
}
