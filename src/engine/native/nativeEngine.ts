/**
 * The native engine: its kernels run in the C++ addon (native/) on the engine's own thread pool. The files in kernels/, named as those in
 * native/bindings/, check shapes and call the addon; this one gives them the engine. A call returns when its kernel has run, so nothing is
 * ever pending; several engines may live in one process, one per JavaScript thread or more.
 */
import { availableCores } from '../../base/cores.ts';
import { UserError } from '../../base/errors.ts';
import type { InstructionSet } from '../../base/instructionSets.ts';
import { countOf } from '../../base/numberText.ts';
import type { Engine } from '../engine.ts';
import type { KernelOptions } from '../kernels.ts';
import type { EnginePrecision } from '../precision.ts';
import type { Tensor, TensorGroup } from '../tensor.ts';
import type { NativeAddon } from './addon.ts';
import {
  activationBackward,
  activationForward,
  gatedActivationBackward,
  gatedActivationForward,
} from './kernels/activation.ts';
import { attentionBackward, attentionDecode, attentionForward } from './kernels/attention.ts';
import { crossEntropy, linearCrossEntropy } from './kernels/crossEntropy.ts';
import { add, copy, dropout, zero, zeroGroup } from './kernels/elementwise.ts';
import { embeddingBackward, embeddingForward } from './kernels/embedding.ts';
import { layerNormBackward, layerNormForward } from './kernels/layerNorm.ts';
import { linearBackward, linearForward } from './kernels/linear.ts';
import { adamw, normalise, squaredNorm, weightedSum } from './kernels/optimizer.ts';
import { rmsNormBackward, rmsNormForward } from './kernels/rmsNorm.ts';
import { rope } from './kernels/rope.ts';
import { loadNative, unavailable } from './loadNative.ts';
import { NativeTensors } from './nativeTensors.ts';
import { OpenEngine } from './openEngine.ts';

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
  readonly #open: OpenEngine;

  constructor(addon: NativeAddon, isa: InstructionSet, threads: number) {
    const open = new OpenEngine(addon, isa, threads);
    super(open.memory);
    this.isa = isa;
    this.unit = isa;
    this.threads = threads;
    this.description = `native (${isa}, ${countOf(threads, 'thread')})`;
    this.#open = open;
  }

  async dispose(): Promise<void> {
    this.#open.close();
  }

  async peakFlops(precision: EnginePrecision, seconds: number): Promise<number | undefined> {
    if (precision === 'f16') return undefined;
    return precision === 'bf16' ? this.bf16Limit(seconds) : this.fmaLimit(seconds);
  }

  /** Floating-point operations a second that the engine's threads reach in registers: what kernels are measured against. */
  fmaLimit(seconds: number): number {
    return this.#open.addon.fmaLimit(this.#open.handle, seconds);
  }

  /** The same in products of bfloat16 numbers, which are summed in float32. */
  bf16Limit(seconds: number): number {
    return this.#open.addon.bf16Limit(this.#open.handle, seconds);
  }

  /**
   * Bytes a second at which the engine's threads read `array`: what kernels that read each number once are measured against. Choose
   * it larger than the caches, or as large as what the measured work reads, and fill it: memory never written is all one page.
   */
  readBandwidth(array: Float32Array, seconds: number): number {
    return this.#open.addon.readBandwidth(this.#open.handle, seconds, array);
  }

  zero(tensor: Tensor): void {
    zero(this.#open, tensor);
  }

  zeroGroup(group: TensorGroup): void {
    zeroGroup(this.#open, group);
  }

  add(options: KernelOptions<'add'>): void {
    add(this.#open, options);
  }

  copy(options: KernelOptions<'copy'>): void {
    copy(this.#open, options);
  }

  dropout(options: KernelOptions<'dropout'>): void {
    dropout(this.#open, options);
  }

  embeddingForward(options: KernelOptions<'embeddingForward'>): void {
    embeddingForward(this.#open, options);
  }

  embeddingBackward(options: KernelOptions<'embeddingBackward'>): void {
    embeddingBackward(this.#open, options);
  }

  layerNormForward(options: KernelOptions<'layerNormForward'>): void {
    layerNormForward(this.#open, options);
  }

  layerNormBackward(options: KernelOptions<'layerNormBackward'>): void {
    layerNormBackward(this.#open, options);
  }

  rmsNormForward(options: KernelOptions<'rmsNormForward'>): void {
    rmsNormForward(this.#open, options);
  }

  rmsNormBackward(options: KernelOptions<'rmsNormBackward'>): void {
    rmsNormBackward(this.#open, options);
  }

  rope(options: KernelOptions<'rope'>): void {
    rope(this.#open, options);
  }

  linearForward(options: KernelOptions<'linearForward'>): void {
    linearForward(this.#open, options);
  }

  linearBackward(options: KernelOptions<'linearBackward'>): void {
    linearBackward(this.#open, options);
  }

  activationForward(options: KernelOptions<'activationForward'>): void {
    activationForward(this.#open, options);
  }

  activationBackward(options: KernelOptions<'activationBackward'>): void {
    activationBackward(this.#open, options);
  }

  gatedActivationForward(options: KernelOptions<'gatedActivationForward'>): void {
    gatedActivationForward(this.#open, options);
  }

  gatedActivationBackward(options: KernelOptions<'gatedActivationBackward'>): void {
    gatedActivationBackward(this.#open, options);
  }

  attentionForward(options: KernelOptions<'attentionForward'>): void {
    attentionForward(this.#open, options);
  }

  attentionBackward(options: KernelOptions<'attentionBackward'>): void {
    attentionBackward(this.#open, options);
  }

  attentionDecode(options: KernelOptions<'attentionDecode'>): void {
    attentionDecode(this.#open, options);
  }

  crossEntropy(options: KernelOptions<'crossEntropy'>): void {
    crossEntropy(this.#open, options);
  }

  linearCrossEntropy(options: KernelOptions<'linearCrossEntropy'>): void {
    linearCrossEntropy(this.#open, options);
  }

  squaredNorm(group: TensorGroup): Promise<number> {
    return squaredNorm(this.#open, group);
  }

  adamw(options: KernelOptions<'adamw'>): void {
    adamw(this.#open, options);
  }

  weightedSum(options: KernelOptions<'weightedSum'>): void {
    weightedSum(this.#open, options);
  }

  normalise(options: KernelOptions<'normalise'>): void {
    normalise(this.#open, options);
  }
}
