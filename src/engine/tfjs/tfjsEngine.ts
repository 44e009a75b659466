/**
 * The tfjs engine: the kernels of engine.ts as TensorFlow.js operations, on any of its available backends. It serves GPUs
 * and machines without a compiler. Parity tests compare the native engine with it as an independent implementation: it shares no
 * formula with it. math.ts and attention.ts have the formulas; this file checks shapes and moves results into tensors.
 */
import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import { lastExtent, sizeOf } from '../../base/shape.ts';
import { attentionShape, decodeShape, expectCache, expectSequences, gradientRows } from '../attentionOptions.ts';
import type { EngineMemory } from '../device.ts';
import type { Engine } from '../engine.ts';
import { gatedShape } from '../gatedOptions.ts';
import { expectStarts, expectTargets, expectTokens, positionsOf } from '../hostIntegers.ts';
import type { Documents, Dropout, FusedOperands, KernelOptions, SeparateOperands } from '../kernels.ts';
import { checkGradients, checkLinearBackward, checkLinearForward, linearShape, logitsRows } from '../linearOptions.ts';
import { type PlacedMatrix, updatedTensors, weightedSumParts } from '../matrixParts.ts';
import { expectPositions, ropeShape, rowPositions } from '../ropeOptions.ts';
import { sha256Of } from '../sha256.ts';
import type { DType, HostArray, Shape, Tensor, TensorGroup } from '../tensor.ts';
import { activation as activate, activationGradient } from './activations.ts';
import { type AttentionDims, attendToCache, attention, attentionGradient, type Operands } from './attention.ts';
import { loadBackend, type TfjsBackend } from './backends.ts';
import { attentionDims, expectRows } from './checks.ts';
import type { TfjsBackendName } from './deviceKinds.ts';
import { deviceTensor, expectSizes } from './deviceTensor.ts';
import * as math from './math.ts';
import { TensorStore } from './tensorStore.ts';

export interface TfjsEngineOptions {
  readonly deviceKind: TfjsBackendName;
}

/** Throws a UserError if the device is not available, saying what to install. */
export async function createTfjsEngine({ deviceKind }: TfjsEngineOptions): Promise<Engine> {
  return new TfjsEngine(await loadBackend(deviceKind));
}

class TfjsEngine implements Engine {
  readonly name = 'tfjs';
  readonly isHost = false;
  readonly deviceKind: string;
  readonly device = 0;
  readonly unit: string;
  readonly description: string;
  private readonly backend: TfjsBackend;
  private readonly ops: math.Ops;
  private readonly store: TensorStore;
  private disposed = false;

  constructor(backend: TfjsBackend) {
    this.backend = backend;
    this.deviceKind = backend.deviceKind;
    this.unit = backend.detail;
    this.description = `tfjs (${backend.deviceKind}: ${backend.detail})`;
    this.ops = { tf: backend.tf, plainMatMulOnly: backend.deviceKind === 'wasm' };
    this.store = new TensorStore(backend);
  }

  alloc(shape: Shape, dtype: DType = 'float32'): Tensor {
    return this.store.alloc(shape, dtype);
  }

  allocGroup(shapes: readonly Shape[]): TensorGroup {
    return this.store.allocGroup(shapes);
  }

  release(tensor: Tensor): void {
    this.store.release(deviceTensor(tensor));
  }

  upload(tensor: Tensor, data: HostArray): void {
    this.store.upload(deviceTensor(tensor), data);
  }

  async download(tensor: Tensor, into: HostArray): Promise<void> {
    await this.store.download(deviceTensor(tensor), into);
  }

  hostRange(_: TensorGroup, from: number, to: number): Float32Array {
    return new Float32Array(new SharedArrayBuffer((to - from) * Float32Array.BYTES_PER_ELEMENT));
  }

  copyOut(group: TensorGroup, from: number, to: number, into: Float32Array): Promise<void> | undefined {
    return this.store.copyOut(group, from, to, into);
  }

  copyIn(group: TensorGroup, from: number, to: number, data: Float32Array): void {
    this.store.copyIn(group, from, to, data);
  }

  /** Contents are never overwritten, only replaced: holding on to them is the copy on the device. */
  async snapshot(groups: readonly TensorGroup[], into: readonly Float32Array[]): Promise<void> {
    await Promise.all(groups.map((group, i) => this.store.copyOut(group, 0, group.length, into[i]!)));
  }

  /** SHA-256, on the host: the operations of TensorFlow.js have no integers of 32 bits. */
  async checksum(groups: readonly TensorGroup[]): Promise<string> {
    const copies = groups.map(({ length }) => new Float32Array(length));
    await this.snapshot(groups, copies);
    return sha256Of(copies);
  }

  async finish(): Promise<void> {
    this.store.settle();
    await this.backend.finish();
  }

  memory(): EngineMemory {
    return this.store.memory();
  }

  async dispose(): Promise<void> {
    if (this.disposed) return;
    this.disposed = true;
    await this.backend.finish();
    this.store.disposeAll();
    this.backend.release();
  }

  zero(tensor: Tensor): void {
    if (tensor.dtype === 'int32') this.upload(tensor, new Int32Array(tensor.size));
    else this.write([tensor], () => [this.ops.tf.zeros([...tensor.shape])]);
  }

  zeroGroup(group: TensorGroup): void {
    for (const tensor of group.tensors) this.zero(tensor);
  }

  add({ out, a, b }: KernelOptions<'add'>): void {
    expectSizes('add', { a: [a, out.size], b: [b, out.size] });
    this.write([out], () => [this.ops.tf.add(this.rows(a), this.rows(b))]);
  }

  copy({ out, inp }: KernelOptions<'copy'>): void {
    const after = out.size - inp.size;
    expectSizes('copy', { inp: [inp, Math.min(inp.size, out.size)] });
    this.write([out], () => {
      const { tf } = this.ops;
      if (after === 0) return [tf.clone(this.read(inp))];
      const flat = (tensor: Tensor) => tf.reshape(this.read(tensor), [-1]);
      return [tf.concat([flat(inp), tf.slice(flat(out), [inp.size], [after])])];
    });
  }

  dropout({ out, inp, dropout }: KernelOptions<'dropout'>): void {
    expectSizes('dropout', { inp: [inp, out.size] });
    this.write([out], () => {
      return [this.ops.tf.mul(this.read(inp), this.dropoutFactors(dropout, out.shape[0] ?? 1, inp.shape))];
    });
  }

  /** The starts of documents of samples [B, T, ...], or null. */
  private startsOf(kernel: string, { starts }: Documents, samples: Tensor): Int32Array | null {
    if (starts === undefined) return null;
    const [b = 0, t = 0] = samples.shape;
    expectSizes(kernel, { starts: [starts, b * t] });
    const values = this.hostIntegers(starts);
    expectStarts(kernel, values, t);
    return values;
  }

  embeddingForward(options: KernelOptions<'embeddingForward'>): void {
    const { out, tokens, wte, wpe, positionOffset = 0, scale = 1 } = options;
    const { tf } = this.ops;
    const c = lastExtent(wte);
    const time = lastExtent(tokens);
    expectTokens('embeddingForward', this.hostIntegers(tokens), wte);
    expectSizes('embeddingForward', { out: [out, tokens.size * c] });
    const starts = this.startsOf('embeddingForward', options, tokens);
    this.write([out], () => {
      const found = tf.gather(this.rows(wte), tf.reshape(this.read(tokens), [-1]));
      const rows = scale === 1 ? found : tf.mul(found, scale);
      if (wpe === undefined) return [rows];
      if (starts !== null) {
        const positions = positionsOf(starts, time).map((position) => positionOffset + position);
        return [tf.add(rows, tf.gather(this.rows(wpe), tf.tensor1d(positions, 'int32')))];
      }
      const positions = tf.slice(this.rows(wpe), [positionOffset, 0], [time, c]);
      return [tf.add(tf.reshape(rows, [-1, time, c]), positions)];
    });
  }

  embeddingBackward(options: KernelOptions<'embeddingBackward'>): void {
    const { dout, tokens, dwte, dwpe, scale = 1 } = options;
    checkGradients('embeddingBackward', dwte, dwpe);
    const { tf } = this.ops;
    const c = lastExtent(dout);
    const time = lastExtent(tokens);
    expectSizes('embeddingBackward', { dout: [dout, tokens.size * c] });
    if (dwte !== undefined) {
      const host = this.hostIntegers(tokens);
      expectTokens('embeddingBackward', host, dwte);
      this.write([dwte], () => {
        const sums = math.embeddingGradient(this.ops, host, this.rows(dout), dwte.size / c);
        return [tf.add(this.rows(dwte), scale === 1 ? sums : tf.mul(sums, scale))];
      });
    }
    const starts = this.startsOf('embeddingBackward', options, tokens);
    if (dwpe === undefined) return;
    this.write([dwpe], () => {
      if (starts !== null) {
        const positions = positionsOf(starts, time);
        const sums = math.embeddingGradient(this.ops, positions, this.rows(dout), dwpe.size / c);
        return [tf.add(this.rows(dwpe), sums)];
      }
      const sums = tf.sum(tf.reshape(this.read(dout), [-1, time, c]), 0);
      const unused = dwpe.size / c - time;
      const padded = unused === 0 ? sums : tf.concat([sums, tf.zeros([unused, c])]);
      return [tf.add(this.rows(dwpe), padded)];
    });
  }

  layerNormForward({ out, mean, rstd, inp, weight, bias, eps }: KernelOptions<'layerNormForward'>): void {
    expectRows('layerNormForward', { inp, weight, mean, rstd, bias, out });
    this.write([out, mean, rstd], () => {
      const results = math.layerNorm(this.ops, this.rows(inp), this.read(weight), this.readOptional(bias), eps);
      return [results.out, results.mean, results.rstd];
    });
  }

  layerNormBackward(options: KernelOptions<'layerNormBackward'>): void {
    const { dinp, accumulate, dweight, dbias, dout, inp, weight, mean, rstd } = options;
    checkGradients('layerNormBackward', dinp, dweight, dbias);
    expectRows('layerNormBackward', { inp, weight, mean, rstd, bias: dbias, out: dout });
    expectSizes('layerNormBackward', { dinp: [dinp, inp.size], dweight: [dweight, weight.size] });
    const { tf } = this.ops;
    this.write(present([dinp, dweight, dbias]), () => {
      const gradients = math.layerNormGradients(this.ops, {
        dout: this.rows(dout),
        inp: this.rows(inp),
        weight: this.read(weight),
        mean: tf.reshape(this.read(mean), [-1, 1]),
        rstd: tf.reshape(this.read(rstd), [-1, 1]),
      });
      return present([
        dinp && this.accumulated(dinp, gradients.dinp, accumulate),
        dweight && this.accumulated(dweight, gradients.dweight, true),
        dbias && this.accumulated(dbias, gradients.dbias, true),
      ]);
    });
  }

  rmsNormForward({ out, rstd, inp, weight, eps }: KernelOptions<'rmsNormForward'>): void {
    expectRows('rmsNormForward', { inp, weight, rstd, out });
    this.write([out, rstd], () => {
      const results = math.rmsNorm(this.ops, this.rows(inp), this.read(weight), eps);
      return [results.out, results.rstd];
    });
  }

  rmsNormBackward(options: KernelOptions<'rmsNormBackward'>): void {
    const { dinp, accumulate, dweight, dout, inp, weight, rstd } = options;
    checkGradients('rmsNormBackward', dinp, dweight);
    expectRows('rmsNormBackward', { inp, weight, rstd, out: dout });
    expectSizes('rmsNormBackward', { dinp: [dinp, inp.size], dweight: [dweight, weight.size] });
    this.write(present([dinp, dweight]), () => {
      const gradients = math.rmsNormGradients(this.ops, {
        dout: this.rows(dout),
        inp: this.rows(inp),
        weight: this.read(weight),
        rstd: this.ops.tf.reshape(this.read(rstd), [-1, 1]),
      });
      return present([
        dinp && this.accumulated(dinp, gradients.dinp, accumulate),
        dweight && this.accumulated(dweight, gradients.dweight, true),
      ]);
    });
  }

  rope(options: KernelOptions<'rope'>): void {
    const { out, inp, table, heads, inverse = false } = options;
    const { t, rows } = ropeShape(options);
    const first = options.positions ? this.hostIntegers(options.positions) : null;
    expectPositions(first, t, rows);
    const positions = rowPositions(inp, first, this.startsOf('rope', options, inp));
    this.write([out], () => [math.rope(this.ops, this.rows(inp), this.read(table), { heads, positions, inverse })]);
  }

  linearForward(options: KernelOptions<'linearForward'>): void {
    checkLinearForward(options);
    const { out, inp, weight, weightTransposed = false, bias, activation, residual, dropout, rowsApart } = options;
    const pre = activation?.preActivation;
    this.write(pre === undefined ? [out] : [out, pre], () => {
      const layer = { weight: this.read(weight), weightTransposed, bias: this.readOptional(bias) };
      const y = math.linear(this.ops, this.rows(inp), layer, rowsApart === true);
      if (activation !== undefined) {
        const active = activate(this.ops, activation.kind, y);
        return pre === undefined ? [active] : [active, y];
      }
      if (residual === undefined) return [y];
      const factors = dropout && this.dropoutFactors(dropout, out.shape[0] ?? 1, y.shape);
      return [this.ops.tf.add(this.rows(residual), factors === undefined ? y : this.ops.tf.mul(y, factors))];
    });
  }

  linearBackward(options: KernelOptions<'linearBackward'>): void {
    checkLinearBackward(options);
    const { inp, weight, weightTransposed = false, dout, dinp, accumulate, dinpActivation, dweight, dbias } = options;
    if (dinp !== undefined) {
      this.write([dinp], () => {
        const product = math.matMul(this.ops, this.rows(dout), this.read(weight), false, !weightTransposed);
        if (dinpActivation === undefined) return [this.accumulated(dinp, product, accumulate)];
        const { kind, preActivation } = dinpActivation;
        return [activationGradient(this.ops, kind, this.rows(preActivation), product)];
      });
    }
    if (dweight !== undefined) {
      this.write([dweight], () => {
        const gradient = math.linearWeightGradient(this.ops, this.rows(inp), this.rows(dout), weightTransposed);
        return [this.accumulated(dweight, gradient, true)];
      });
    }
    if (dbias === undefined) return;
    this.write([dbias], () => [this.accumulated(dbias, this.ops.tf.sum(this.rows(dout), 0), true)]);
  }

  activationForward({ kind, out, inp }: KernelOptions<'activationForward'>): void {
    expectSizes('activationForward', { out: [out, inp.size] });
    this.write([out], () => [activate(this.ops, kind, this.read(inp))]);
  }

  activationBackward({ kind, dinp, dout, inp }: KernelOptions<'activationBackward'>): void {
    expectSizes('activationBackward', { dinp: [dinp, inp.size], dout: [dout, inp.size] });
    this.write([dinp], () => [activationGradient(this.ops, kind, this.rows(inp), this.rows(dout))]);
  }

  gatedActivationForward({ kind, out, inp }: KernelOptions<'gatedActivationForward'>): void {
    gatedShape('gatedActivationForward', inp, out);
    this.write([out], () => {
      const [gate, up] = this.halves(inp);
      return [this.ops.tf.mul(activate(this.ops, kind, gate), up)];
    });
  }

  gatedActivationBackward({ kind, dinp, dout, inp }: KernelOptions<'gatedActivationBackward'>): void {
    const { n } = gatedShape('gatedActivationBackward', inp, dout);
    expectSizes('gatedActivationBackward', { dinp: [dinp, inp.size] });
    const { tf } = this.ops;
    this.write([dinp], () => {
      const [gate, up] = this.halves(inp);
      const gradient = tf.reshape(this.read(dout), [n, -1]);
      const dgate = activationGradient(this.ops, kind, gate, tf.mul(gradient, up));
      return [tf.concat([dgate, tf.mul(gradient, activate(this.ops, kind, gate))], 1)];
    });
  }

  attentionForward({ out, ...options }: KernelOptions<'attentionForward'>): void {
    const dims = attentionDims('attentionForward', options, { out }, (tensor) => this.hostIntegers(tensor));
    this.write([out, options.lse], () => {
      const masks = this.attentionDropout(options.dropout, dims);
      const results = attention(this.ops, this.operands(options), dims, masks);
      return [results.out, results.lse];
    });
  }

  attentionBackward({ dout, out, ...options }: KernelOptions<'attentionBackward'>): void {
    const dims = attentionDims('attentionBackward', options, { out, dout }, (tensor) => this.hostIntegers(tensor));
    const gradients = gradientRows(options, attentionShape(options));
    this.write(options.qkv ? [gradients.q] : [gradients.q, gradients.kv], () => {
      const saved = {
        dout: this.read(dout),
        lse: this.ops.tf.reshape(this.read(options.lse), [2, -1, dims.queries, 1]),
        dropout: this.attentionDropout(options.dropout, dims),
      };
      return attentionGradient(this.ops, this.operands(options), saved, dims);
    });
  }

  attentionDecode({ out, ...options }: KernelOptions<'attentionDecode'>): void {
    const { tf } = this.ops;
    const { qkv, q, sequences } = options;
    const { b, tq: t, nHead, headSize, c, kvWidth } = decodeShape(options);
    expectSequences(sequences, b);
    expectSizes('attentionDecode', { out: [out, b * t * c] });
    // The tokens that are added to each cache.
    const added = qkv === undefined ? 0 : t;
    const part = (sequence: number, from: number, width: number) =>
      tf.slice(tf.reshape(this.read(qkv ?? q!), [b * t, -1]), [sequence * t, from], [t, width]);
    for (const [i, { keys, values, position }] of sequences.entries()) {
      expectCache({ keys, values, position }, added, kvWidth);
      if (added === 0) continue;
      const blockSize = keys.size / kvWidth;
      const end = position + t;
      const extended = (cache: Tensor, rows: TfTensor) => {
        const old = this.rows(cache);
        const before = position === 0 ? [] : [tf.slice(old, [0, 0], [position, kvWidth])];
        const after = blockSize - end;
        return tf.concat([...before, rows, ...(after === 0 ? [] : [tf.slice(old, [end, 0], [after, kvWidth])])]);
      };
      this.write([keys, values], () => [
        extended(keys, part(i, c, kvWidth)),
        extended(values, part(i, c + kvWidth, kvWidth)),
      ]);
    }
    this.write([out], () => {
      const attended = sequences.map(({ keys, values, position }, i) => {
        const seen = (cache: Tensor) => tf.slice(this.rows(cache), [0, 0], [position + added, kvWidth]);
        const operands = { q: part(i, 0, c), keys: seen(keys), values: seen(values) };
        return attendToCache(this.ops, operands, { nHead, headSize, seesAll: added === 0 });
      });
      return [attended.length === 1 ? attended[0]! : tf.concat(attended)];
    });
  }

  crossEntropy({ losses, logits, targets, dlogits, scale = 1, weights }: KernelOptions<'crossEntropy'>): void {
    expectSizes('crossEntropy', {
      losses: [losses, targets.size],
      logits: [logits, targets.size * lastExtent(logits)],
      dlogits: [dlogits, logits.size],
      weights: [weights, targets.size],
    });
    const host = this.hostIntegers(targets);
    expectTargets('crossEntropy', host, lastExtent(logits));
    this.write(dlogits === undefined ? [losses] : [losses, dlogits], () => {
      const gradient = dlogits && { scale, weights: this.readOptional(weights) };
      const results = math.crossEntropy(this.ops, this.rows(logits), host, gradient);
      return results.dlogits === undefined ? [results.losses] : [results.losses, results.dlogits];
    });
  }

  linearCrossEntropy(options: KernelOptions<'linearCrossEntropy'>): void {
    const { losses, targets, inp, weight, weightTransposed = false, scale = 1, weights, dinp, dweight } = options;
    const n = targets.size;
    const v = linearShape(options).oc;
    expectSizes('linearCrossEntropy', {
      inp: [inp, n * lastExtent(inp)],
      losses: [losses, n],
      weights: [weights, n],
      dinp: [dinp, inp.size],
      dweight: [dweight, weight.size],
    });
    const host = this.hostIntegers(targets);
    expectTargets('linearCrossEntropy', host, v);
    this.write(present([losses, dinp, dweight]), () => {
      const operands = { inp: this.rows(inp), weight: this.read(weight), weightTransposed, targets: host };
      const wanted = {
        scale,
        weights: this.readOptional(weights),
        dinp: dinp !== undefined,
        dweight: dweight && this.read(dweight),
      };
      const results = math.linearCrossEntropy(this.ops, operands, logitsRows(n, v), wanted);
      return present([results.losses, results.dinp, results.dweight]);
    });
  }

  async squaredNorm(group: TensorGroup): Promise<number> {
    const { tf } = this.ops;
    const written = group.tensors.map(deviceTensor).filter(({ value, parts }) => value !== undefined || parts.size > 0);
    this.backend.activate();
    const sums = written.map((tensor) => tf.tidy(() => math.rowSquares(this.ops, this.read(tensor))));
    const downloaded = await Promise.all(sums.map(async (sum) => sum.data<'float32'>())).finally(() => {
      for (const sum of sums) sum.dispose();
    });
    return downloaded.reduce((total, rows) => rows.reduce((partial, row) => partial + row, total), 0);
  }

  adamw(options: KernelOptions<'adamw'>): void {
    const { params, grads, m: ms, v: vs, weightDecay, zeroGrads, average, tensors, ...settings } = options;
    for (const { index: i, indexOfV } of updatedTensors({ params, v: vs, weightDecay, ...(tensors && { tensors }) })) {
      const param = params.tensors[i]!;
      const [grad, m, v] = [grads.tensors[i]!, ms.tensors[i]!, vs.tensors[indexOfV]!];
      expectSizes('adamw', { grad: [grad, param.size], m: [m, param.size], v: [v, param.size] });
      this.write([param, m, v], () => {
        const old = { param: this.read(param), grad: this.read(grad), m: this.read(m), v: this.read(v) };
        const updated = math.adamw(this.ops, old, { ...settings, weightDecay: weightDecay[i]! });
        return [updated.param, updated.m, updated.v];
      });
      if (zeroGrads === true) this.zero(grad);
      if (average === undefined) continue;
      const old = average.group.tensors[i]!;
      expectSizes('adamw', { average: [old, param.size] });
      this.write([old], () => [math.averaged(this.ops, this.read(old), this.read(param), average.weight)]);
    }
  }

  weightedSum(options: KernelOptions<'weightedSum'>): void {
    const { rows, columns, scaleA, scaleB } = options;
    const { out, a, b } = weightedSumParts(options);
    const { tf } = this.ops;
    const partOf = ({ tensor, row, column }: PlacedMatrix) =>
      tf.slice(this.rows(tensor), [row, column], [rows, columns]);
    this.write([out.tensor], () => {
      const sum = tf.add(tf.mul(partOf(a), scaleA), tf.mul(partOf(b), scaleB));
      return [math.withPart(this.ops, this.rows(out.tensor), sum, [out.row, out.column])];
    });
  }

  normalise({ tensor, eps }: KernelOptions<'normalise'>): void {
    const { tf } = this.ops;
    this.write([tensor], () => {
      const values = this.read(tensor);
      return [tf.div(values, tf.maximum(tf.sqrt(tf.sum(math.rowSquares(this.ops, values))), eps))];
    });
  }

  /** Runs a kernel and makes its results the contents of `outs`. */
  private write(outs: readonly Tensor[], kernel: () => TfTensor[]): void {
    this.store.write(outs.map(deviceTensor), kernel);
  }

  private read(tensor: Tensor): TfTensor {
    return this.store.read(deviceTensor(tensor));
  }

  private readOptional(tensor: Tensor | undefined): TfTensor | undefined {
    return tensor === undefined ? undefined : this.read(tensor);
  }

  /** As a matrix: leading dimensions flattened. */
  private rows(tensor: Tensor): TfTensor {
    return this.ops.tf.reshape(this.read(tensor), [-1, lastExtent(tensor)]);
  }

  /** The two halves of the rows. */
  private halves(tensor: Tensor): [TfTensor, TfTensor] {
    return this.ops.tf.split(this.rows(tensor), 2, 1) as [TfTensor, TfTensor];
  }

  private accumulated(into: Tensor, value: TfTensor, accumulate: boolean | undefined): TfTensor {
    if (accumulate !== true) return value;
    return this.ops.tf.add(this.read(into), this.ops.tf.reshape(value, [...into.shape]));
  }

  private dropoutFactors(dropout: Dropout, samples: number, shape: Shape): TfTensor {
    return this.ops.tf.tensor(math.dropoutFactors(dropout, samples, sizeOf(shape) / samples), [...shape]);
  }

  private attentionDropout(dropout: Dropout | undefined, dims: AttentionDims): TfTensor | undefined {
    if (dropout === undefined) return undefined;
    const { batchSize, nHead, queries, keys } = dims;
    return this.dropoutFactors(dropout, batchSize, [batchSize * nHead, queries, keys]);
  }

  private operands({ qkv, q, kv }: FusedOperands | SeparateOperands): Operands {
    return qkv === undefined ? { q: this.read(q), kv: this.read(kv) } : { qkv: this.read(qkv) };
  }

  /** Token ids or targets, on the host. */
  private hostIntegers(tensor: Tensor): Int32Array {
    return this.store.hostIntegers(deviceTensor(tensor));
  }
}

/** The values that are present. */
function present<T>(values: readonly (T | undefined)[]): T[] {
  return values.filter((value) => value !== undefined);
}
