/** Rotary position embedding. */
import type { KernelOptions } from '../../kernels.ts';
import { expectPositions, ropeShape, rowPositions } from '../../ropeOptions.ts';
import * as math from '../math.ts';
import type { TfjsDevice } from '../tfjsDevice.ts';

export function rope(device: TfjsDevice, options: KernelOptions<'rope'>): void {
  const { out, inp, table, heads, inverse = false } = options;
  const { t, rows } = ropeShape(options);
  const first = options.positions ? device.hostIntegers(options.positions) : null;
  expectPositions(first, t, rows);
  const positions = rowPositions(inp, first, device.startsOf('rope', options, inp));
  device.write([out], () => [
    math.rope(device.ops, device.rows(inp), device.read(table), { heads, positions, inverse }),
  ]);
}
