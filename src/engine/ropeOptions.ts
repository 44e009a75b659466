/** The options of the rotary position embedding, and what every engine makes of them. */
import { invariant } from '../base/errors.ts';
import type { Documents } from './documents.ts';
import type { Tensor } from './tensor.ts';

/**
 * Rotary position embedding (Su et al., 2021, https://arxiv.org/abs/2104.09864), as in Hugging Face's Llama: in each head, number i
 * and number i + HS/2 are rotated together, by an angle proportional to the position.
 */
export interface RopeOptions extends Documents {
  /** [B, T, W], or bfloat16. The row of a token begins with the heads to rotate; the rest of it is copied. */
  readonly inp: Tensor;
  /** [B, T, W], of the type of `inp`; may be `inp`. */
  readonly out: Tensor;
  /** (positions, 2, HS/2): for each position the cosines of its angles, then the sines. */
  readonly table: Tensor;
  /** How many heads are rotated: the first `heads` · HS numbers of each row. */
  readonly heads: number;
  /** [B] int32: the position of the first token of each sequence. Absent: 0. With `starts`, what is added to the position in the document. */
  readonly positions?: Tensor;
  /** Rotates back, by the negative angles: the gradient of `inp`, from that of `out`. */
  readonly inverse?: boolean;
}

/** The extents of options that fit one another; `rows` of the table, each for a position. @throws InvariantError */
export function ropeShape({ inp, out, table, heads, positions }: RopeOptions) {
  const [b, t, width] = inp.shape;
  const [rows, two, half] = table.shape;
  invariant(
    inp.shape.length === 3 && b !== undefined && t !== undefined && width !== undefined,
    `rope: inp is [${inp.shape}]; expected [B, T, W]`,
  );
  invariant(
    table.shape.length === 3 && rows !== undefined && two === 2 && half !== undefined,
    `rope: table is [${table.shape}]; expected [positions, 2, HS/2]`,
  );
  const headSize = 2 * half;
  invariant(
    Number.isInteger(heads) && heads >= 1 && heads * headSize <= width,
    `rope: expected rows of at least ${heads} heads of ${headSize} numbers, received rows of ${width}`,
  );
  invariant(
    out.size === inp.size && out.dtype === inp.dtype,
    `rope: out is ${out.dtype} [${out.shape}] but inp ${inp.dtype} [${inp.shape}]`,
  );
  invariant(
    positions === undefined || positions.size === b,
    `rope: positions are [${positions?.shape}]; expected one for each of ${b} sequences`,
  );
  return { b, t, width, headSize, rows };
}

/** Sequences of `time` tokens from these positions on have rows in the table. @throws InvariantError */
export function expectPositions(positions: ArrayLike<number> | null, time: number, rows: number): void {
  for (const first of Array.from(positions ?? [0])) {
    invariant(
      first >= 0 && first + time <= rows,
      `rope: expected positions below ${rows}, received those from ${first} to ${first + time - 1}`,
    );
  }
}

/** The position of each row of `inp` [B, T, W]. */
export function rowPositions(
  { shape }: Tensor,
  positions: ArrayLike<number> | null,
  starts: ArrayLike<number> | null,
): Int32Array {
  const [b = 0, t = 0] = shape;
  return Int32Array.from({ length: b * t }, (_, row) => {
    return (positions?.[Math.floor(row / t)] ?? 0) + (row % t) - (starts?.[row] ?? 0);
  });
}
