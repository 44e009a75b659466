/** Attention, and that of generation over caches. */
import { attentionShape, decodeShape, expectSequences, gradientRows } from '../../attentionOptions.ts';
import type { KernelOptions } from '../../kernels.ts';
import { anyFloats, floats, keysOf, rangesOf } from '../checks.ts';
import type { OpenEngine } from '../openEngine.ts';

export function attentionForward({ addon, handle }: OpenEngine, options: KernelOptions<'attentionForward'>): void {
  const shape = attentionShape(options);
  const { b, tq, tk, nHead, nKvHead, headSize, c } = shape;
  const { starts, ends } = rangesOf('attentionForward', options, shape);
  addon.attentionForward(
    handle,
    b,
    tq,
    tk,
    nHead,
    nKvHead,
    headSize,
    anyFloats(options.out, 'out', b * tq * c),
    floats(options.lse, 'lse', 2 * b * nHead * tq),
    options.kv ? anyFloats(options.kv, 'kv') : null,
    anyFloats(options.qkv ?? options.q, 'q'),
    starts,
    ends,
    options.dropout?.rate ?? 0,
    options.dropout ? keysOf(options.dropout, b) : null,
  );
}

export function attentionBackward({ addon, handle }: OpenEngine, options: KernelOptions<'attentionBackward'>): void {
  const shape = attentionShape(options);
  const { b, tq, tk, nHead, nKvHead, headSize, c } = shape;
  const { starts, ends } = rangesOf('attentionBackward', options, shape);
  const gradients = gradientRows(options, shape);
  addon.attentionBackward(
    handle,
    b,
    tq,
    tk,
    nHead,
    nKvHead,
    headSize,
    options.kv ? anyFloats(gradients.kv, 'dkv') : null,
    anyFloats(gradients.q, 'dq'),
    anyFloats(options.dout, 'dout', b * tq * c),
    anyFloats(options.out, 'out', b * tq * c),
    options.kv ? anyFloats(options.kv, 'kv') : null,
    anyFloats(options.qkv ?? options.q, 'q'),
    floats(options.lse, 'lse', 2 * b * nHead * tq),
    starts,
    ends,
    options.dropout?.rate ?? 0,
    options.dropout ? keysOf(options.dropout, b) : null,
  );
}

export function attentionDecode({ addon, handle }: OpenEngine, options: KernelOptions<'attentionDecode'>): void {
  const { out, qkv, q, sequences } = options;
  const { b, tq: t, nHead, nKvHead, headSize, c } = decodeShape(options);
  expectSequences(sequences, b);
  addon.attentionDecode(
    handle,
    b,
    t,
    nHead,
    nKvHead,
    headSize,
    floats(out, 'out', b * t * c),
    qkv ? floats(qkv, 'qkv') : null,
    q ? floats(q, 'q') : null,
    Int32Array.from(sequences, ({ position }) => position),
    sequences.map(({ keys }) => floats(keys, 'keys')),
    sequences.map(({ values }) => floats(values, 'values')),
  );
}
