/**
 * Attention on the tape (tape.ts): of a sequence to itself, to another one, and to caches, which has no backward.
 *
 * B batch, T time (Tq queries, Tk keys), NH heads, NKV heads of keys and values, HS head size.
 */
import { invariant } from '../../base/errors.ts';
import { checkOptionNames } from '../../base/optionNames.ts';
import type { AttentionHeads, CachedKeys, KeyRanges } from '../../engine/attentionOptions.ts';
import type { Dropout } from '../../engine/dropout.ts';
import type { Tensor } from '../../engine/tensor.ts';
import type { Recording } from '../recording.ts';
import { type FloatType, headNames, rangeNames, save, use, type Variable } from '../variable.ts';

/** What an attention does besides attending: its dropout and ranges, and the type of its result. */
interface AttentionSettings {
  readonly ranges: KeyRanges;
  readonly dropout: Dropout | undefined;
  readonly type: FloatType;
}

/** See `Tape.attention`. */
export function attention(
  recording: Recording,
  qkv: Variable,
  heads: AttentionHeads,
  { ranges, dropout, type }: AttentionSettings,
): Variable {
  checkOptionNames('attention', heads, headNames);
  checkOptionNames('attention', ranges, rangeNames);
  const { engine, buffers } = recording;
  const [B, T] = qkv.shape as [number, number, number];
  const lse = buffers.alloc([2, B, heads.nHead, T]);
  const out = recording.variable([B, T, attendedWidth(qkv, heads)], type);
  const shared = { qkv: save(qkv), ...heads, lse, ...(dropout && { dropout }), ...ranges };
  engine.attentionForward({ ...shared, out: out.value });
  const result = out.value;
  out.saved = true;
  return recording.record(out, [lse], { variables: [qkv] }, (dout) =>
    recording.flowAssigned(qkv, (dqkv) => engine.attentionBackward({ ...shared, dqkv, dout, out: result })),
  );
}

/** See `Tape.crossAttention`. */
export function crossAttention(
  recording: Recording,
  { q, kv }: { readonly q: Variable; readonly kv: Variable },
  heads: AttentionHeads,
  { ranges, dropout, type }: AttentionSettings,
): Variable {
  checkOptionNames('crossAttention', heads, headNames);
  checkOptionNames('crossAttention', ranges, rangeNames);
  const { engine, buffers } = recording;
  const [B, Tq] = q.shape as [number, number, number];
  const lse = buffers.alloc([2, B, heads.nHead, Tq]);
  const out = recording.variable(q.shape, type);
  const shared = { q: save(q), kv: save(kv), ...heads, lse, ...(dropout && { dropout }), ...ranges };
  engine.attentionForward({ ...shared, out: out.value });
  const result = out.value;
  out.saved = true;
  return recording.record(out, [lse], { variables: [q, kv] }, (dout) => {
    const [dq, dkv] = [q, kv].map(({ shape, dtype }) => buffers.alloc(shape, dtype)) as [Tensor, Tensor];
    engine.attentionBackward({ ...shared, dq, dkv, dout, out: result });
    for (const [x, gradient] of [
      [q, dq],
      [kv, dkv],
    ] as const) {
      if (x.needsGrad) recording.give(x, gradient);
      else buffers.release(gradient);
    }
  });
}

/** See `Tape.attentionDecode`. */
export function attentionDecode(
  recording: Recording,
  qkv: Variable,
  sequences: readonly CachedKeys[],
  heads: AttentionHeads,
): Variable {
  checkOptionNames('attentionDecode', heads, headNames);
  const [B, T] = qkv.shape as [number, number, number];
  const out = recording.variable([B, T, attendedWidth(qkv, heads)]);
  recording.engine.attentionDecode({ out: out.value, qkv: use(qkv), sequences, ...heads });
  return recording.record(out, [], { variables: [qkv] }, () => invariant(false, 'attentionDecode has no backward'));
}

/** See `Tape.crossAttentionDecode`. */
export function crossAttentionDecode(
  recording: Recording,
  q: Variable,
  sources: readonly CachedKeys[],
  heads: AttentionHeads,
): Variable {
  checkOptionNames('crossAttentionDecode', heads, headNames);
  const out = recording.variable(q.shape);
  recording.engine.attentionDecode({ out: out.value, q: use(q), sequences: sources, ...heads });
  return recording.record(out, [], { variables: [q] }, () => invariant(false, 'crossAttentionDecode has no backward'));
}

/** The width of the result of attention. */
function attendedWidth(qkv: Variable, { nHead, nKvHead = nHead }: AttentionHeads): number {
  return (qkv.shape.at(-1)! * nHead) / (nHead + 2 * nKvHead);
}
