/**
 * An engine in float64: the kernels are the reference of test/parity/kernels, plain loops from the definitions. Through it
 * the tape and the model can be held against finite differences to many digits, and fast engines against the complete model.
 * It is strict: fresh tensors are NaN, and a released tensor must not be used.
 */
import { InvariantError, invariant } from '../../../src/base/errors.ts';
import {
  type AttentionOptions,
  attentionShape,
  type CachedKeys,
  gradientRows,
} from '../../../src/engine/attentionOptions.ts';
import type { EngineMemory } from '../../../src/engine/device.ts';
import { expectStarts } from '../../../src/engine/documents.ts';
import type { Dropout } from '../../../src/engine/dropout.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { gatedShape } from '../../../src/engine/gatedOptions.ts';
import { expectRanges } from '../../../src/engine/hostIntegers.ts';
import type { Kernels } from '../../../src/engine/kernels.ts';
import {
  checkGradients,
  checkLinearBackward,
  checkLinearForward,
  type LinearBackwardOptions,
  type LinearCrossEntropyOptions,
  type LinearForwardOptions,
  type LinearOptions,
} from '../../../src/engine/linearOptions.ts';
import { type AdamwOptions, updatedTensors, weightedSumParts } from '../../../src/engine/optimizerOptions.ts';
import { expectPositions, ropeShape } from '../../../src/engine/ropeOptions.ts';
import { sha256Of } from '../../../src/engine/sha256.ts';
import type { DType, Shape, Tensor, TensorGroup } from '../../../src/engine/tensor.ts';
import * as reference from '../kernels/reference.ts';
import {
  type AttentionInput,
  attentionBackward,
  attentionForward,
  qkvWidth,
  type SeparateInput,
  separateAttentionBackward,
} from '../kernels/referenceAttention.ts';

type Kernel<Name extends keyof Kernels> = Kernels[Name] extends (options: infer Options) => unknown ? Options : never;

class Float64Tensor implements Tensor {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly size: number;
  readonly data: Float64Array;
  released = false;

  constructor(shape: Shape, dtype: DType, fill: number) {
    this.shape = shape;
    this.dtype = dtype;
    this.size = shape.reduce((product, extent) => product * extent, 1);
    this.data = new Float64Array(this.size).fill(fill);
  }
}

export class Float64Engine implements Engine {
  readonly name = 'float64';
  readonly deviceKind = 'none';
  readonly device: number;
  readonly unit = 'none';
  readonly description: string;
  readonly isHost = false;
  #allocated = 0;
  #peak = 0;

  constructor({ device = 0 } = {}) {
    this.device = device;
    this.description = `float64 (reference loops, device ${device})`;
  }

  alloc(shape: Shape, dtype: DType = 'float32'): Tensor {
    this.#allocated += 4 * shape.reduce((product, extent) => product * extent, 1);
    this.#peak = Math.max(this.#peak, this.#allocated);
    return new Float64Tensor(shape, dtype, Number.NaN);
  }

  allocGroup(shapes: readonly Shape[]): TensorGroup {
    const tensors = shapes.map((shape) => new Float64Tensor(shape, 'float32', 0));
    const offsets: number[] = [];
    let length = 0;
    for (const { size } of tensors) {
      offsets.push(length);
      length += size;
    }
    this.#allocated += 4 * length;
    this.#peak = Math.max(this.#peak, this.#allocated);
    return { tensors, offsets, length };
  }

  release(tensor: Tensor): void {
    numbers(tensor); // not released yet
    (tensor as Float64Tensor).released = true;
    this.#allocated -= 4 * tensor.size;
  }

  upload(tensor: Tensor, data: Float32Array | Int32Array): void {
    invariant(data.length === tensor.size, `upload of ${data.length} numbers to a tensor of ${tensor.size}`);
    numbers(tensor).set(data);
  }

  async download(tensor: Tensor, into: Float32Array | Int32Array): Promise<void> {
    into.set(numbers(tensor));
  }

  hostRange(_: TensorGroup, from: number, to: number): Float32Array {
    return new Float32Array(to - from);
  }

  copyOut(group: TensorGroup, from: number, to: number, into: Float32Array): undefined {
    into.set(blockOf(group).subarray(from, to));
  }

  copyIn(group: TensorGroup, from: number, to: number, data: Float32Array): void {
    const block = blockOf(group);
    block.set(data.subarray(0, to - from), from);
    for (const [i, tensor] of group.tensors.entries()) {
      const offset = group.offsets[i]!;
      numbers(tensor).set(block.subarray(offset, offset + tensor.size));
    }
  }

  async snapshot(groups: readonly TensorGroup[], into: readonly Float32Array[]): Promise<void> {
    for (const [i, group] of groups.entries()) into[i]!.set(blockOf(group));
  }

  async checksum(groups: readonly TensorGroup[]): Promise<string> {
    return sha256Of(groups.map((group) => Float32Array.from(blockOf(group))));
  }

  async finish(): Promise<void> {}

  memory(): EngineMemory {
    return { bytesInUse: this.#allocated, bytesPooled: 0, bytesPeak: this.#peak };
  }

  async dispose(): Promise<void> {}

  zero(tensor: Tensor): void {
    numbers(tensor).fill(0);
  }

  zeroGroup(group: TensorGroup): void {
    for (const tensor of group.tensors) this.zero(tensor);
  }

  add({ out, a, b }: Kernel<'add'>): void {
    const addend = numbers(b);
    assign(
      out,
      numbers(a).map((value, i) => value + addend[i]!),
    );
  }

  copy({ out, inp }: Kernel<'copy'>): void {
    numbers(out).set(numbers(inp));
  }

  dropout({ out, inp, dropout }: Kernel<'dropout'>): void {
    const mask = reference.dropoutMask(dropout, out.shape[0]!, out.size / out.shape[0]!);
    assign(
      out,
      numbers(inp).map((value, i) => value * mask[i]!),
    );
  }

  embeddingForward({ out, tokens, wte, wpe, positionOffset, scale, starts }: Kernel<'embeddingForward'>): void {
    const position = wpe && numbers(wpe);
    const input = embeddingInput(tokens, wte, starts);
    assign(out, reference.embeddingForward(input, numbers(wte), position, positionOffset, scale));
  }

  embeddingBackward({ dout, tokens, dwte, dwpe, scale = 1, starts }: Kernel<'embeddingBackward'>): void {
    checkGradients('embeddingBackward', dwte, dwpe);
    const vocabSize = dwte?.shape[0] ?? 1 + numbers(tokens).reduce((most, token) => Math.max(most, token));
    const sizes = { v: vocabSize, positions: dwpe?.shape[0] ?? tokens.shape[1]!, scale };
    const gradients = reference.embeddingBackward(embeddingInput(tokens, dout, starts), numbers(dout), sizes);
    if (dwte !== undefined) put(dwte, gradients.dwte, true);
    if (dwpe !== undefined) put(dwpe, gradients.dwpe, true);
  }

  layerNormForward({ out, mean, rstd, inp, weight, bias, eps }: Kernel<'layerNormForward'>): void {
    const input = { inp: numbers(inp), weight: numbers(weight), bias: bias && numbers(bias), ...rowsOf(inp), eps };
    const result = reference.layerNormForward(input);
    assign(out, result.out);
    assign(mean, result.mean);
    assign(rstd, result.rstd);
  }

  layerNormBackward(options: Kernel<'layerNormBackward'>): void {
    const { dinp, accumulate, dweight, dbias, dout, inp, weight, rstd } = options;
    // The reference recomputes the statistics; that it has the right eps is checked by those saved.
    const input = { inp: numbers(inp), weight: numbers(weight), ...rowsOf(inp), eps: 1e-5 };
    const recomputed = reference.layerNormForward(input).rstd;
    invariant(Math.abs(recomputed[0]! / numbers(rstd)[0]! - 1) < 1e-12, 'the saved rstd is not of this input');
    const gradients = reference.layerNormBackward(input, numbers(dout));
    if (dinp !== undefined) put(dinp, gradients.dinp, accumulate);
    if (dweight !== undefined) put(dweight, gradients.dweight, true);
    if (dbias !== undefined) put(dbias, gradients.dbias, true);
  }

  rmsNormForward({ out, rstd, inp, weight, eps }: Kernel<'rmsNormForward'>): void {
    const input = { inp: numbers(inp), weight: numbers(weight), ...rowsOf(inp) };
    const result = reference.rmsNormForward(input, eps);
    assign(out, result.out);
    assign(rstd, result.rstd);
  }

  rmsNormBackward(options: Kernel<'rmsNormBackward'>): void {
    const { dinp, accumulate, dweight, dout, inp, weight, rstd } = options;
    checkGradients('rmsNormBackward', dinp, dweight);
    const input = { inp: numbers(inp), weight: numbers(weight), ...rowsOf(inp) };
    const gradients = reference.rmsNormBackward(input, numbers(rstd), numbers(dout));
    if (dinp !== undefined) put(dinp, gradients.dinp, accumulate);
    if (dweight !== undefined) put(dweight, gradients.dweight, true);
  }

  rope(options: Kernel<'rope'>): void {
    const { inp, out, table, heads, inverse } = options;
    const { b, t, width, headSize, rows } = ropeShape(options);
    const positions = options.positions && Int32Array.from(numbers(options.positions));
    expectPositions(positions ?? null, t, rows);
    const starts = startsOf(options.starts, b, t);
    const sizes = { b, t, width, heads, headSize };
    assign(out, reference.rope({ ...sizes, inp: numbers(inp), table: numbers(table), positions, starts, inverse }));
  }

  linearForward(options: LinearForwardOptions): void {
    checkLinearForward(options);
    const { out, bias, activation, residual, dropout } = options;
    const result = reference.linearEpilogue(reference.linearForward(linearInput(options, bias)), {
      activation: activation?.kind,
      residual: residual && numbers(residual),
      mask: maskOf(dropout, out.shape[0]!, out.size / out.shape[0]!),
    });
    if (activation?.preActivation) assign(activation.preActivation, result.y);
    assign(out, result.out);
  }

  linearBackward(options: LinearBackwardOptions): void {
    checkLinearBackward(options);
    const { dinp, accumulate, dinpActivation, dweight, dbias } = options;
    const gradients = reference.linearBackward(linearInput(options), numbers(options.dout));
    if (dinp !== undefined && dinpActivation !== undefined) {
      const { kind, preActivation } = dinpActivation;
      assign(dinp, reference.activationBackward(kind, numbers(preActivation), gradients.dinp));
    } else if (dinp !== undefined) put(dinp, gradients.dinp, accumulate);
    if (dweight !== undefined) put(dweight, gradients.dweight, true);
    if (dbias !== undefined) put(dbias, gradients.dbias, true);
  }

  activationForward({ kind, out, inp }: Kernel<'activationForward'>): void {
    assign(out, reference.activationForward(kind, numbers(inp)));
  }

  activationBackward({ kind, dinp, dout, inp }: Kernel<'activationBackward'>): void {
    assign(dinp, reference.activationBackward(kind, numbers(inp), numbers(dout)));
  }

  gatedActivationForward({ kind, out, inp }: Kernel<'gatedActivationForward'>): void {
    const shape = gatedShape('gatedActivationForward', inp, out);
    assign(out, reference.gatedForward({ kind, inp: numbers(inp), ...shape }));
  }

  gatedActivationBackward({ kind, dinp, dout, inp }: Kernel<'gatedActivationBackward'>): void {
    const shape = gatedShape('gatedActivationBackward', inp, dout);
    assign(dinp, reference.gatedBackward({ kind, inp: numbers(inp), ...shape }, numbers(dout)));
  }

  attentionForward(options: Kernel<'attentionForward'>): void {
    const result = attentionForward(attentionInput(options));
    assign(options.out, result.out);
    assign(options.lse, Float64Array.of(...result.lse, ...result.lse.map(() => 0))); // nothing was rounded
  }

  attentionBackward(options: Kernel<'attentionBackward'>): void {
    numbers(options.out); // must still be there
    numbers(options.lse);
    const input = attentionInput(options);
    const gradients = gradientRows(options, attentionShape(options));
    const dout = numbers(options.dout);
    if ('qkv' in input) assign(gradients.q, attentionBackward(input, dout));
    else {
      const { dq, dkv } = separateAttentionBackward(input, dout);
      assign(gradients.q, dq);
      assign(gradients.kv, dkv);
    }
  }

  attentionDecode({ out, qkv, q, sequences, nHead, nKvHead = nHead }: Kernel<'attentionDecode'>): void {
    if (qkv === undefined) {
      const queries = numbers(q).length / sequences.length;
      const attended = sequences.flatMap(({ keys, values, position }, i) => {
        const kvWidth = keys.shape[1]!;
        const headSize = kvWidth / nKvHead;
        const t = queries / (nHead * headSize);
        const kv = Float64Array.from({ length: 2 * position * kvWidth }, (_, at) => {
          const [row, x] = [Math.floor(at / (2 * kvWidth)), at % (2 * kvWidth)];
          return x < kvWidth ? numbers(keys)[row * kvWidth + x]! : numbers(values)[row * kvWidth + x - kvWidth]!;
        });
        const query = numbers(q).subarray(i * queries, (i + 1) * queries);
        const ends = new Int32Array(t).fill(position);
        return [...attentionForward({ q: query, kv, b: 1, t, keys: position, nHead, nKvHead, headSize, ends }).out];
      });
      assign(out, Float64Array.from(attended));
      return;
    }
    const size = qkv.size / sequences.length;
    const results = sequences.flatMap((sequence, i) => [
      ...this.#decodeSequence(numbers(qkv).subarray(i * size, (i + 1) * size), sequence, nHead, nKvHead),
    ]);
    assign(out, Float64Array.from(results));
  }

  #decodeSequence(fresh: Float64Array, cached: CachedKeys, nHead: number, nKvHead = nHead): Float64Array {
    const { keys, values, position } = cached;
    const kvWidth = keys.shape[1]!;
    const headSize = kvWidth / nKvHead;
    const [C, width] = [nHead * headSize, qkvWidth({ nHead, nKvHead, headSize })];
    const T = position + fresh.length / width;
    const all = new Float64Array(T * width);
    all.set(fresh, position * width);
    for (let t = 0; t < T; t++) {
      for (const [part, cache] of [keys, values].entries()) {
        const row = numbers(cache).subarray(t * kvWidth, (t + 1) * kvWidth);
        const from = t * width + C + part * kvWidth;
        const inAll = all.subarray(from, from + kvWidth);
        if (t < position) inAll.set(row);
        else row.set(inAll);
      }
    }
    const result = attentionForward({ qkv: all, b: 1, t: T, nHead, nKvHead, headSize });
    return result.out.subarray(position * C);
  }

  crossEntropy({ losses, logits, targets, dlogits, scale, weights }: Kernel<'crossEntropy'>): void {
    const [n, v] = [targets.size, logits.size / targets.size];
    const input = { logits: numbers(logits), targets: Int32Array.from(numbers(targets)), n, v };
    const result = reference.crossEntropy(input, scale ?? 1, weights && numbers(weights));
    assign(losses, result.losses);
    if (dlogits !== undefined) assign(dlogits, result.dlogits);
  }

  linearCrossEntropy(options: LinearCrossEntropyOptions): void {
    const { losses, targets, scale, weights, dinp, dweight } = options;
    const input = { ...linearInput(options), targets: Int32Array.from(numbers(targets)) };
    const result = reference.linearCrossEntropy(input, scale ?? 1, weights && numbers(weights));
    assign(losses, result.losses);
    if (dinp !== undefined) assign(dinp, result.dinp);
    if (dweight !== undefined) put(dweight, result.dweight, true);
  }

  async squaredNorm(group: TensorGroup): Promise<number> {
    let sum = 0;
    for (const tensor of group.tensors) for (const value of numbers(tensor)) sum += value * value;
    return sum;
  }

  adamw({ params, grads, m, v, weightDecay, zeroGrads, average, tensors, ...settings }: AdamwOptions): void {
    for (const { index: i, indexOfV } of updatedTensors({ params, v, weightDecay, ...(tensors && { tensors }) })) {
      const state = {
        param: numbers(params.tensors[i]!),
        m: numbers(m.tensors[i]!),
        v: numbers(v.tensors[indexOfV]!),
      };
      reference.adamw(state, numbers(grads.tensors[i]!), {
        ...settings,
        weightDecay: weightDecay[i]!,
        ...(average && { average: numbers(average.group.tensors[i]!), averageWeight: average.weight }),
      });
      if (zeroGrads) this.zero(grads.tensors[i]!);
    }
  }

  weightedSum(options: Kernel<'weightedSum'>): void {
    const { rows, columns, scaleA, scaleB } = options;
    const { out, a, b } = weightedSumParts(options);
    const [sum, first, second] = [numbers(out.tensor), numbers(a.tensor), numbers(b.tensor)];
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const at = ({ start, stride }: typeof out) => start + row * stride + column;
        sum[at(out)] = scaleA * first[at(a)]! + scaleB * second[at(b)]!;
      }
    }
  }

  normalise({ tensor, eps }: Kernel<'normalise'>): void {
    const values = numbers(tensor);
    const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
    assign(
      tensor,
      values.map((value) => value / Math.max(norm, eps)),
    );
  }
}

/** The live numbers of a tensor of this engine, in float64. */
export function numbers(tensor: Tensor): Float64Array {
  if (!(tensor instanceof Float64Tensor)) throw new InvariantError('a tensor of another engine');
  invariant(!tensor.released, 'a tensor was used after its release');
  return tensor.data;
}

function assign(tensor: Tensor, values: Float64Array): void {
  invariant(values.length === tensor.size, `a result of ${values.length} numbers for a tensor of ${tensor.size}`);
  numbers(tensor).set(values);
}

function put(tensor: Tensor, values: Float64Array, accumulate: boolean | undefined): void {
  const old = numbers(tensor);
  assign(tensor, accumulate ? values.map((value, i) => value + old[i]!) : values);
}

function rowsOf(tensor: Tensor): { n: number; c: number } {
  const c = tensor.shape.at(-1)!;
  return { n: tensor.size / c, c };
}

function embeddingInput(tokens: Tensor, table: Tensor, starts: Tensor | undefined): reference.EmbeddingInput {
  const [b, t] = tokens.shape as [number, number];
  return { tokens: Int32Array.from(numbers(tokens)), b, t, c: table.shape.at(-1)!, starts: startsOf(starts, b, t) };
}

function startsOf(starts: Tensor | undefined, b: number, t: number): Int32Array | undefined {
  if (starts === undefined) return undefined;
  const values = Int32Array.from(numbers(starts));
  invariant(values.length === b * t, `starts are [${starts.shape}]; expected ${b * t} elements`);
  expectStarts('float64', values, t);
  return values;
}

function linearInput({ inp, weight, weightTransposed }: LinearOptions, bias?: Tensor): reference.LinearInput {
  const transposed = weightTransposed ?? false;
  const ic = weight.shape[transposed ? 1 : 0]!;
  const oc = weight.shape[transposed ? 0 : 1]!;
  invariant(inp.shape.at(-1) === ic, `a linear layer of ${ic} inputs was given ${inp.shape}`);
  return {
    inp: numbers(inp),
    weight: numbers(weight),
    bias: bias && numbers(bias),
    n: inp.size / ic,
    ic,
    oc,
    transposed,
  };
}

function attentionInput(options: AttentionOptions): AttentionInput | SeparateInput {
  const { b, tq, tk, nHead, nKvHead, headSize } = attentionShape(options);
  const mask = maskOf(options.dropout, b, nHead * tq * tk);
  const [starts, ends] = [options.starts, options.ends].map((tensor) => tensor && Int32Array.from(numbers(tensor)));
  if (ends !== undefined) expectRanges('float64', { starts, ends }, { queries: tq, keys: tk });
  else if (starts !== undefined) expectStarts('float64', starts, tq);
  const shared = { b, t: tq, nHead, nKvHead, headSize, mask, starts, ends };
  if (options.qkv !== undefined) return { ...shared, qkv: numbers(options.qkv) };
  return { ...shared, q: numbers(options.q), kv: numbers(options.kv), keys: tk };
}

/** A group's numbers one after another: there is no padding. */
function blockOf({ tensors, length }: TensorGroup): Float64Array {
  const block = new Float64Array(length);
  let at = 0;
  for (const tensor of tensors) {
    block.set(numbers(tensor), at);
    at += tensor.size;
  }
  return block;
}

function maskOf(dropout: Dropout | undefined, samples: number, perSample: number): Float64Array | undefined {
  return dropout && reference.dropoutMask(dropout, samples, perSample);
}
