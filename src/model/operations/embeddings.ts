/**
 * Table lookups on the tape (tape.ts): the embeddings of tokens and positions, and rows of other tensors that are fetched by the same
 * kernel.
 */
import { invariant } from '../../base/errors.ts';
import { checkOptionNames } from '../../base/optionNames.ts';
import type { CachedKeys } from '../../engine/attentionOptions.ts';
import type { Tensor } from '../../engine/tensor.ts';
import type { Parameter } from '../parameter.ts';
import type { Recording } from '../recording.ts';
import { type EmbeddingOptions, embeddingNames, use, type Variable } from '../variable.ts';

/** The rows of tokens, with those of their positions. */
interface Tables {
  readonly wte: Parameter;
  readonly wpe: Parameter | undefined;
}

/** See `Tape.embedding`. */
export function embedding(
  recording: Recording,
  tokens: Tensor,
  { wte, wpe }: Tables,
  options: EmbeddingOptions,
): Variable {
  checkOptionNames('embedding', options, embeddingNames);
  const { engine } = recording;
  const { positionOffset = 0, starts, scale = 1 } = options;
  const out = recording.variable([...tokens.shape, wte.value.shape[1]!]);
  const shared = { tokens, scale, ...(starts && { starts }) };
  engine.embeddingForward({
    ...shared,
    out: out.value,
    wte: wte.value,
    ...(wpe && { wpe: wpe.value, positionOffset }),
  });
  return recording.record(out, [], { parameters: [wpe, wte] }, (dout) => {
    invariant(positionOffset === 0, 'the embedding has no backward at a position offset');
    const dwte = wte.grad && { dwte: wte.grad };
    const dwpe = wpe?.grad && { dwpe: wpe.grad };
    engine.embeddingBackward({ ...shared, dout, ...dwte, ...dwpe });
  });
}

/** See `Tape.embeddingEach`. */
export function embeddingEach(
  recording: Recording,
  tokens: Tensor,
  positions: readonly number[],
  { wte, wpe }: Tables,
  scale: number,
): Variable {
  const { engine } = recording;
  const out = embedding(recording, tokens, { wte, wpe: undefined }, { scale });
  if (wpe === undefined) return out;
  const rows = recording.variable(out.shape);
  const where = recording.upload(Int32Array.from(positions), tokens.shape);
  engine.embeddingForward({ out: rows.value, tokens: where, wte: wpe.value });
  engine.add({ out: rows.value, a: use(out), b: rows.value });
  return recording.record(rows, [], { variables: [out], parameters: [wpe] }, () =>
    invariant(false, 'embeddingEach has no backward'),
  );
}

/** See `Tape.lastRow`. */
export function lastRow(recording: Recording, x: Variable): Variable {
  const C = x.shape.at(-1)!;
  const N = x.shape.slice(0, -1).reduce((product, length) => product * length, 1);
  if (N === 1) return x;
  const tokens = recording.upload(Int32Array.of(N - 1), [1, 1]);
  const out = recording.variable([1, C]);
  recording.engine.embeddingForward({ out: out.value, tokens, wte: use(x) });
  return recording.record(out, [], { variables: [x] }, () => invariant(false, 'lastRow has no backward'));
}

/** See `Tape.storeSource`. */
export function storeSource(
  recording: Recording,
  kv: Variable,
  { keys, values }: Pick<CachedKeys, 'keys' | 'values'>,
): void {
  const { engine, buffers } = recording;
  const [rows, width] = keys.shape as [number, number];
  const parts = buffers.alloc([2 * rows, width]); // keys and values of a position, one after another
  engine.copy({ out: parts, inp: use(kv) });
  for (const [part, out] of [keys, values].entries()) {
    const from = recording.upload(
      Int32Array.from({ length: rows }, (_, row) => 2 * row + part),
      [1, rows],
    );
    engine.embeddingForward({ out, tokens: from, wte: parts });
  }
}
