/**
 * The native engine: shapes are checked here, the kernels run in the C++ addon (native/) on the engine's own thread pool. A call
 * returns when its kernel has run, so nothing is ever pending; several engines may live in one process, one per JavaScript thread
 * or more.
 */
import { availableCores } from '../../base/cores.ts';
import { UserError } from '../../base/errors.ts';
import type { InstructionSet } from '../../base/instructionSets.ts';
import { countOf } from '../../base/numberText.ts';
import { lastExtent } from '../../base/shape.ts';
import { attentionShape, decodeShape, expectSequences, gradientRows } from '../attentionOptions.ts';
import type { Engine } from '../engine.ts';
import { gatedShape } from '../gatedOptions.ts';
import type { KernelOptions } from '../kernels.ts';
import {
  checkGradients,
  checkLinearBackward,
  checkLinearForward,
  linearShape,
  logitsRows,
  matrix,
} from '../linearOptions.ts';
import { updatedTensors, weightedSumParts } from '../matrixParts.ts';
import type { EnginePrecision } from '../precision.ts';
import { expectPositions, ropeShape } from '../ropeOptions.ts';
import type { Tensor, TensorGroup } from '../tensor.ts';
import type { NativeAddon } from './addon.ts';
import { anyFloats, floats, floatsOfGroup, ints, keysOf, nativeTensor, rangesOf, startsOf } from './checks.ts';
import { loadNative, unavailable } from './loadNative.ts';
import { NativeTensors } from './nativeTensors.ts';

export interface NativeEngineOptions {
  /** Threads that a kernel uses, the calling one included, at most 256; 0 or absent: one for each core this process may use. */
  readonly threads?: number;
  /** Default `auto`: the best that this machine can run. */
  readonly isa?: InstructionSet | 'auto';
}

/** An engine on the compiled addon. Throws a UserError if the addon is not built or the machine lacks `isa`. */
export function createNativeEngine(options: NativeEngineOptions = {}): NativeEngine {
  const load = loadNative();
  if ('error' in load) throw unavailable(load);
  const sets = load.addon.instructionSets();
  const isa = options.isa === undefined || options.isa === 'auto' ? sets[0] : options.isa;
  if (!isa || !sets.includes(isa)) {
    throw new UserError(
      `engine native: the instruction set ${isa} is not available here; available: ${sets.join(', ')}`,
    );
  }
  return new NativeEngine(load.addon, isa, threadCount(options.threads ?? 0, availableCores()));
}

/** The most that the addon's thread pool starts (native/threadPool.h). */
const THREADS_MAX = 256;

/** Number of an engine's threads on a machine with `cores` cores: the requested number, limited by the pool. */
export function threadCount(requested: number, cores: number): number {
  if (!Number.isInteger(requested) || requested < 0) {
    throw new UserError(
      `engine native: expected a whole number of threads (0: one per core) but received ${requested}`,
    );
  }
  return Math.min(requested || cores, THREADS_MAX);
}

/** dst += src in native code on the calling thread; undefined where the addon is missing. */
export function nativeAddInto(): ((dst: Float32Array, src: Float32Array) => void) | undefined {
  const load = loadNative();
  return 'addon' in load ? load.addon.addInto : undefined;
}

export class NativeEngine extends NativeTensors implements Engine {
  readonly name = 'native';
  readonly deviceKind = 'cpu';
  readonly device = 0;
  readonly description: string;
  readonly isa: InstructionSet;
  readonly unit: string;
  readonly threads: number;
  readonly #addon: NativeAddon;
  readonly #handle: number;

  constructor(addon: NativeAddon, isa: InstructionSet, threads: number) {
    super(addon);
    this.isa = isa;
    this.unit = isa;
    this.threads = threads;
    this.description = `native (${isa}, ${countOf(threads, 'thread')})`;
    this.#addon = addon;
    this.#handle = addon.createEngine(threads, isa);
  }

  async dispose(): Promise<void> {
    this.#addon.disposeEngine(this.#handle);
    this.clear();
  }

  async peakFlops(precision: EnginePrecision, seconds: number): Promise<number | undefined> {
    if (precision === 'f16') return undefined;
    return precision === 'bf16' ? this.bf16Limit(seconds) : this.fmaLimit(seconds);
  }

  /** Floating-point operations a second that the engine's threads reach in registers: what kernels are measured against. */
  fmaLimit(seconds: number): number {
    return this.#addon.fmaLimit(this.#handle, seconds);
  }

  /** The same in products of bfloat16 numbers, which are summed in float32. */
  bf16Limit(seconds: number): number {
    return this.#addon.bf16Limit(this.#handle, seconds);
  }

  /**
   * Bytes a second at which the engine's threads read `array`: what kernels that read each number once are measured against. Choose
   * it larger than the caches, or as large as what the measured work reads, and fill it: memory never written is all one page.
   */
  readBandwidth(array: Float32Array, seconds: number): number {
    return this.#addon.readBandwidth(this.#handle, seconds, array);
  }

  zero(tensor: Tensor): void {
    const { data } = nativeTensor(tensor, 'tensor');
    if (data instanceof Float32Array) this.#addon.zero(this.#handle, data);
    else data.fill(0);
  }

  zeroGroup(group: TensorGroup): void {
    this.#addon.zero(this.#handle, floatsOfGroup(group));
  }

  add({ out, a, b }: KernelOptions<'add'>): void {
    const { size } = out;
    this.#addon.add(this.#handle, size, anyFloats(out, 'out'), anyFloats(a, 'a', size), anyFloats(b, 'b', size));
  }

  copy({ out, inp }: KernelOptions<'copy'>): void {
    const size = Math.min(inp.size, out.size);
    this.#addon.copy(this.#handle, size, anyFloats(out, 'out').subarray(0, size), anyFloats(inp, 'inp', size));
  }

  dropout({ out, inp, dropout }: KernelOptions<'dropout'>): void {
    const b = out.shape[0] ?? 1;
    this.#addon.dropout(
      this.#handle,
      b,
      out.size / b,
      anyFloats(out, 'out'),
      anyFloats(inp, 'inp', out.size),
      dropout.rate,
      keysOf(dropout, b),
    );
  }

  embeddingForward(options: KernelOptions<'embeddingForward'>): void {
    const { out, tokens, wte, wpe } = options;
    const [b, t] = matrix(tokens, 'tokens');
    const c = lastExtent(wte);
    const v = wte.size / c;
    this.#addon.embeddingForward(
      this.#handle,
      b,
      t,
      c,
      v,
      wpe ? matrix(wpe, 'wpe')[0] : 0,
      options.positionOffset ?? 0,
      options.scale ?? 1,
      floats(out, 'out', b * t * c),
      ints(tokens, 'tokens'),
      floats(wte, 'wte'),
      wpe ? floats(wpe, 'wpe') : null,
      startsOf('embeddingForward', options, b, t),
    );
  }

  embeddingBackward(options: KernelOptions<'embeddingBackward'>): void {
    const { dout, tokens, dwte, dwpe } = options;
    checkGradients('embeddingBackward', dwte, dwpe);
    const [b, t] = matrix(tokens, 'tokens');
    const c = lastExtent(dout);
    this.#addon.embeddingBackward(
      this.#handle,
      b,
      t,
      c,
      dwte ? matrix(dwte, 'dwte')[0] : 1,
      dwpe ? matrix(dwpe, 'dwpe')[0] : 0,
      options.scale ?? 1,
      dwte ? floats(dwte, 'dwte') : null,
      dwpe ? floats(dwpe, 'dwpe') : null,
      floats(dout, 'dout', b * t * c),
      ints(tokens, 'tokens'),
      startsOf('embeddingBackward', options, b, t),
    );
  }

  layerNormForward(options: KernelOptions<'layerNormForward'>): void {
    const { out, mean, rstd, inp, weight, bias, eps } = options;
    const c = lastExtent(inp);
    const n = inp.size / c;
    this.#addon.layerNormForward(
      this.#handle,
      n,
      c,
      eps,
      anyFloats(out, 'out', inp.size),
      floats(mean, 'mean', n),
      floats(rstd, 'rstd', n),
      floats(inp, 'inp'),
      floats(weight, 'weight', c),
      bias ? floats(bias, 'bias', c) : null,
    );
  }

  layerNormBackward(options: KernelOptions<'layerNormBackward'>): void {
    const { dinp, dweight, dbias, dout, inp, weight, mean, rstd } = options;
    checkGradients('layerNormBackward', dinp, dweight, dbias);
    const c = lastExtent(inp);
    const n = inp.size / c;
    this.#addon.layerNormBackward(
      this.#handle,
      n,
      c,
      options.accumulate ?? false,
      dinp ? floats(dinp, 'dinp', inp.size) : null,
      dweight ? floats(dweight, 'dweight', c) : null,
      dbias ? floats(dbias, 'dbias', c) : null,
      anyFloats(dout, 'dout', inp.size),
      floats(inp, 'inp'),
      floats(weight, 'weight', c),
      floats(mean, 'mean', n),
      floats(rstd, 'rstd', n),
    );
  }

  rmsNormForward({ out, rstd, inp, weight, eps }: KernelOptions<'rmsNormForward'>): void {
    const c = lastExtent(inp);
    const n = inp.size / c;
    this.#addon.rmsNormForward(
      this.#handle,
      n,
      c,
      eps,
      anyFloats(out, 'out', inp.size),
      floats(rstd, 'rstd', n),
      floats(inp, 'inp'),
      floats(weight, 'weight', c),
    );
  }

  rmsNormBackward(options: KernelOptions<'rmsNormBackward'>): void {
    const { dinp, dweight, dout, inp, weight, rstd } = options;
    checkGradients('rmsNormBackward', dinp, dweight);
    const c = lastExtent(inp);
    const n = inp.size / c;
    this.#addon.rmsNormBackward(
      this.#handle,
      n,
      c,
      options.accumulate ?? false,
      dinp ? floats(dinp, 'dinp', inp.size) : null,
      dweight ? floats(dweight, 'dweight', c) : null,
      anyFloats(dout, 'dout', inp.size),
      floats(inp, 'inp'),
      floats(weight, 'weight', c),
      floats(rstd, 'rstd', n),
    );
  }

  rope(options: KernelOptions<'rope'>): void {
    const { out, inp, table, heads, positions, inverse = false } = options;
    const { b, t, width, headSize, rows } = ropeShape(options);
    const first = positions ? ints(positions, 'positions') : null;
    expectPositions(first, t, rows);
    this.#addon.rope(
      this.#handle,
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

  linearForward(options: KernelOptions<'linearForward'>): void {
    const { out, bias, inp, weight, activation, residual, dropout, rowsApart = false } = options;
    const { n, ic, oc, transposed } = checkLinearForward(options);
    const samples = dropout ? (out.shape[0] ?? 1) : 1;
    this.#addon.linearForward(
      this.#handle,
      n,
      ic,
      oc,
      transposed,
      rowsApart,
      samples,
      activation?.kind ?? 'none',
      anyFloats(out, 'out', n * oc),
      activation?.preActivation ? anyFloats(activation.preActivation, 'preActivation', n * oc) : null,
      anyFloats(inp, 'inp'),
      floats(weight, 'weight'),
      bias ? floats(bias, 'bias', oc) : null,
      residual ? anyFloats(residual, 'residual', n * oc) : null,
      dropout?.rate ?? 0,
      dropout ? keysOf(dropout, samples) : null,
    );
  }

  linearBackward(options: KernelOptions<'linearBackward'>): void {
    const { dinp, dinpActivation, dweight, dbias, dout, inp, weight } = options;
    const { n, ic, oc, transposed } = checkLinearBackward(options);
    this.#addon.linearBackward(
      this.#handle,
      n,
      ic,
      oc,
      transposed,
      options.accumulate ?? false,
      dinpActivation?.kind ?? 'none',
      dinp ? anyFloats(dinp, 'dinp', inp.size) : null,
      dinpActivation ? anyFloats(dinpActivation.preActivation, 'preActivation', inp.size) : null,
      dweight ? floats(dweight, 'dweight', weight.size) : null,
      dbias ? floats(dbias, 'dbias', oc) : null,
      anyFloats(dout, 'dout', n * oc),
      anyFloats(inp, 'inp'),
      floats(weight, 'weight'),
    );
  }

  activationForward({ kind, out, inp }: KernelOptions<'activationForward'>): void {
    this.#addon.activationForward(this.#handle, inp.size, kind, anyFloats(out, 'out', inp.size), anyFloats(inp, 'inp'));
  }

  activationBackward(options: KernelOptions<'activationBackward'>): void {
    const { kind, dinp, dout, inp } = options;
    this.#addon.activationBackward(
      this.#handle,
      inp.size,
      kind,
      anyFloats(dinp, 'dinp', inp.size),
      anyFloats(dout, 'dout', inp.size),
      anyFloats(inp, 'inp'),
    );
  }

  gatedActivationForward({ kind, out, inp }: KernelOptions<'gatedActivationForward'>): void {
    const { n, inner } = gatedShape('gatedActivationForward', inp, out);
    this.#addon.gatedActivationForward(this.#handle, n, inner, kind, anyFloats(out, 'out'), anyFloats(inp, 'inp'));
  }

  gatedActivationBackward({ kind, dinp, dout, inp }: KernelOptions<'gatedActivationBackward'>): void {
    const { n, inner } = gatedShape('gatedActivationBackward', inp, dout);
    this.#addon.gatedActivationBackward(
      this.#handle,
      n,
      inner,
      kind,
      anyFloats(dinp, 'dinp', inp.size),
      anyFloats(dout, 'dout'),
      anyFloats(inp, 'inp'),
    );
  }

  attentionForward(options: KernelOptions<'attentionForward'>): void {
    const shape = attentionShape(options);
    const { b, tq, tk, nHead, nKvHead, headSize, c } = shape;
    const { starts, ends } = rangesOf('attentionForward', options, shape);
    this.#addon.attentionForward(
      this.#handle,
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

  attentionBackward(options: KernelOptions<'attentionBackward'>): void {
    const shape = attentionShape(options);
    const { b, tq, tk, nHead, nKvHead, headSize, c } = shape;
    const { starts, ends } = rangesOf('attentionBackward', options, shape);
    const gradients = gradientRows(options, shape);
    this.#addon.attentionBackward(
      this.#handle,
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

  attentionDecode(options: KernelOptions<'attentionDecode'>): void {
    const { out, qkv, q, sequences } = options;
    const { b, tq: t, nHead, nKvHead, headSize, c } = decodeShape(options);
    expectSequences(sequences, b);
    this.#addon.attentionDecode(
      this.#handle,
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

  crossEntropy(options: KernelOptions<'crossEntropy'>): void {
    const { losses, logits, targets, dlogits, weights } = options;
    const v = lastExtent(logits);
    const n = logits.size / v;
    this.#addon.crossEntropy(
      this.#handle,
      n,
      v,
      options.scale ?? 1,
      floats(losses, 'losses', n),
      floats(logits, 'logits'),
      ints(targets, 'targets', n),
      dlogits ? floats(dlogits, 'dlogits', logits.size) : null,
      weights ? floats(weights, 'weights', n) : null,
    );
  }

  linearCrossEntropy(options: KernelOptions<'linearCrossEntropy'>): void {
    const { losses, targets, inp, weight, dinp, dweight, weights } = options;
    const { n, ic, oc: v, transposed } = linearShape(options);
    const rows = logitsRows(n, v);
    const logits = this.alloc([rows, v]);
    try {
      this.#addon.linearCrossEntropy(
        this.#handle,
        n,
        ic,
        v,
        rows,
        transposed,
        options.scale ?? 1,
        floats(losses, 'losses', n),
        floats(logits, 'logits'),
        dinp ? anyFloats(dinp, 'dinp', inp.size) : null,
        dweight ? floats(dweight, 'dweight', weight.size) : null,
        anyFloats(inp, 'inp'),
        floats(weight, 'weight'),
        ints(targets, 'targets', n),
        weights ? floats(weights, 'weights', n) : null,
      );
    } finally {
      this.release(logits);
    }
  }

  async squaredNorm(group: TensorGroup): Promise<number> {
    return this.#addon.squaredNorm(this.#handle, floatsOfGroup(group));
  }

  adamw(options: KernelOptions<'adamw'>): void {
    const { params, grads, m, v, average } = options;
    const updated = updatedTensors(options);
    this.#addon.adamw(
      this.#handle,
      options.learningRate,
      options.beta1,
      options.beta2,
      options.eps,
      options.step,
      options.gradScale,
      options.zeroGrads ?? false,
      floatsOfGroup(params),
      floatsOfGroup(grads),
      floatsOfGroup(m),
      floatsOfGroup(v),
      Float64Array.from(
        updated.flatMap(({ index, indexOfV }) => {
          const start = params.offsets[index]!;
          return [start, start + params.tensors[index]!.size, v.offsets[indexOfV]!];
        }),
      ),
      Float64Array.from(updated, ({ index }) => options.weightDecay[index]!),
      average ? floatsOfGroup(average.group) : null,
      average?.weight ?? 0,
    );
  }

  weightedSum(options: KernelOptions<'weightedSum'>): void {
    const { out, a, b } = weightedSumParts(options);
    this.#addon.weightedSum(
      this.#handle,
      options.rows,
      options.columns,
      floats(out.tensor, 'out'),
      out.start,
      out.stride,
      floats(a.tensor, 'a'),
      a.start,
      a.stride,
      floats(b.tensor, 'b'),
      b.start,
      b.stride,
      options.scaleA,
      options.scaleB,
    );
  }

  normalise({ tensor, eps }: KernelOptions<'normalise'>): void {
    this.#addon.normalise(this.#handle, floats(tensor, 'tensor'), eps);
  }
}
