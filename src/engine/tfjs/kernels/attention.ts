/** Attention, and that of generation over caches. */
import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import {
  attentionShape,
  decodeShape,
  expectCache,
  expectSequences,
  type FusedOperands,
  gradientRows,
  type SeparateOperands,
} from '../../attentionOptions.ts';
import type { Dropout } from '../../dropout.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Tensor } from '../../tensor.ts';
import { type AttentionDims, attendToCache, attention, attentionGradient, type Operands } from '../attentionMath.ts';
import { attentionDims } from '../checks.ts';
import { expectSizes } from '../deviceTensor.ts';
import type { TfjsDevice } from '../tfjsDevice.ts';

export function attentionForward(device: TfjsDevice, { out, ...options }: KernelOptions<'attentionForward'>): void {
  const dims = attentionDims('attentionForward', options, { out }, (tensor) => device.hostIntegers(tensor));
  device.write([out, options.lse], () => {
    const masks = dropoutOf(device, options.dropout, dims);
    const results = attention(device.ops, operandsOf(device, options), dims, masks);
    return [results.out, results.lse];
  });
}

export function attentionBackward(
  device: TfjsDevice,
  { dout, out, ...options }: KernelOptions<'attentionBackward'>,
): void {
  const dims = attentionDims('attentionBackward', options, { out, dout }, (tensor) => device.hostIntegers(tensor));
  const gradients = gradientRows(options, attentionShape(options));
  device.write(options.qkv ? [gradients.q] : [gradients.q, gradients.kv], () => {
    const saved = {
      dout: device.read(dout),
      lse: device.ops.tf.reshape(device.read(options.lse), [2, -1, dims.queries, 1]),
      dropout: dropoutOf(device, options.dropout, dims),
    };
    return attentionGradient(device.ops, operandsOf(device, options), saved, dims);
  });
}

export function attentionDecode(device: TfjsDevice, { out, ...options }: KernelOptions<'attentionDecode'>): void {
  const { tf } = device.ops;
  const { qkv, q, sequences } = options;
  const { b, tq: t, nHead, headSize, c, kvWidth } = decodeShape(options);
  expectSequences(sequences, b);
  expectSizes('attentionDecode', { out: [out, b * t * c] });
  // The tokens that are added to each cache.
  const added = qkv === undefined ? 0 : t;
  const part = (sequence: number, from: number, width: number) =>
    tf.slice(tf.reshape(device.read(qkv ?? q!), [b * t, -1]), [sequence * t, from], [t, width]);
  for (const [i, { keys, values, position }] of sequences.entries()) {
    expectCache({ keys, values, position }, added, kvWidth);
    if (added === 0) continue;
    const blockSize = keys.size / kvWidth;
    const end = position + t;
    const extended = (cache: Tensor, rows: TfTensor) => {
      const old = device.rows(cache);
      const before = position === 0 ? [] : [tf.slice(old, [0, 0], [position, kvWidth])];
      const after = blockSize - end;
      return tf.concat([...before, rows, ...(after === 0 ? [] : [tf.slice(old, [end, 0], [after, kvWidth])])]);
    };
    device.write([keys, values], () => [
      extended(keys, part(i, c, kvWidth)),
      extended(values, part(i, c + kvWidth, kvWidth)),
    ]);
  }
  device.write([out], () => {
    const attended = sequences.map(({ keys, values, position }, i) => {
      const seen = (cache: Tensor) => tf.slice(device.rows(cache), [0, 0], [position + added, kvWidth]);
      const operands = { q: part(i, 0, c), keys: seen(keys), values: seen(values) };
      return attendToCache(device.ops, operands, { nHead, headSize, seesAll: added === 0 });
    });
    return [attended.length === 1 ? attended[0]! : tf.concat(attended)];
  });
}

function operandsOf(device: TfjsDevice, { qkv, q, kv }: FusedOperands | SeparateOperands): Operands {
  return qkv === undefined ? { q: device.read(q), kv: device.read(kv) } : { qkv: device.read(qkv) };
}

function dropoutOf(device: TfjsDevice, dropout: Dropout | undefined, dims: AttentionDims): TfTensor | undefined {
  if (dropout === undefined) return undefined;
  const { batchSize, nHead, queries, keys } = dims;
  return device.dropoutFactors(dropout, batchSize, [batchSize * nHead, queries, keys]);
}
