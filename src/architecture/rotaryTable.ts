/** The angles of the rotary position embedding, which all engines read from one table, so that they have equal ones. */
import { invariant } from '../base/errors.ts';

/**
 * [positions, 2, headSize/2]: for each position the cosines, then the sines, of position · theta^(-2i/headSize) or the scaled frequency
 * (`model.ropeScaling`), computed in float64 and rounded once. InvariantError for a head size that is not even.
 */
export function rotaryTable(
  positions: number,
  headSize: number,
  theta: number,
  scaling: readonly number[] = [],
): Float32Array {
  invariant(headSize >= 2 && headSize % 2 === 0, `expected an even head size, received ${headSize}`);
  const half = headSize / 2;
  const frequencies = Array.from({ length: half }, (_, i) => scaled(theta ** ((-2 * i) / headSize), scaling));
  const table = new Float32Array(positions * headSize);
  for (let position = 0; position < positions; position++) {
    for (const [i, frequency] of frequencies.entries()) {
      table[position * headSize + i] = Math.cos(position * frequency);
      table[position * headSize + half + i] = Math.sin(position * frequency);
    }
  }
  return table;
}

/**
 * A frequency with longer waves. Llama 3.1 keeps those of which `high` fit into the original context, and stretches those of which not even
 * `low` fit.
 */
function scaled(frequency: number, [factor, low, high, original]: readonly number[]): number {
  if (factor === undefined) return frequency;
  if (low === undefined || high === undefined || original === undefined) return frequency / factor;
  const waves = (original * frequency) / (2 * Math.PI);
  const kept = Math.min(1, Math.max(0, (waves - low) / (high - low)));
  return kept * frequency + ((1 - kept) * frequency) / factor;
}
