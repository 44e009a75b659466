/**
 * The compiled addon (native/addon.cc): its functions as TypeScript sees them. `native/findAddon.cjs` finds it. `launch --version` loads this module:
 * it imports little. Every function checks its
 * arguments and throws a TypeError that names the wrong one; none keeps a reference to an array after it returns.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { ActivationKind } from '../../base/activations.ts';
import type { InstructionSet } from '../../base/instructionSets.ts';
import { packageRoot } from '../../base/packageRoot.ts';

type Floats = Float32Array;
type FloatsOrNull = Float32Array | null;
/** float32, or bfloat16. */
type AnyFloats = Float32Array | Uint16Array;
/** Two words for each sample, or null for no dropout. */
type Keys = Uint32Array | null;

/** Arguments are in the order of the C++ side: sizes, numbers and flags, then outputs, then inputs. */
export interface NativeAddon {
  /** A hash of the sources that it was compiled from. */
  readonly sources: string;
  /** The instruction sets that this build has and this machine can run, best first. */
  instructionSets(): InstructionSet[];
  /** A handle for the functions below, with its own thread pool. */
  createEngine(threads: number, isa: InstructionSet | 'auto'): number;
  /** Ends the engine's threads; disposing twice does nothing. */
  disposeEngine(engine: number): void;
  /** Bytes from the array's start to the next multiple of 64. */
  misalignment(array: Floats): number;
  /** Asks the system for huge pages for the pages that the array covers entirely and has not written; does nothing if there are none. */
  adviseHugePages(array: Floats): void;
  /** Floating-point operations a second that all threads of the engine reach together, in registers. */
  fmaLimit(engine: number, seconds: number): number;
  /** The same in products of bfloat16 numbers summed in float32, on the unit of the engine's instruction set. */
  bf16Limit(engine: number, seconds: number): number;
  /** Bytes a second at which all threads of the engine together read the array, again and again. */
  readBandwidth(engine: number, seconds: number, array: Floats): number;

  zero(engine: number, array: Floats): void;
  add(engine: number, size: number, out: AnyFloats, a: AnyFloats, b: AnyFloats): void;
  copy(engine: number, size: number, out: AnyFloats, inp: AnyFloats): void;
  addInto(dst: Floats, src: Floats): void;
  dropout(
    ...args: [
      engine: number,
      b: number,
      sampleSize: number,
      out: AnyFloats,
      inp: AnyFloats,
      rate: number,
      keys: Uint32Array,
    ]
  ): void;
  embeddingForward(
    ...args: [
      engine: number,
      b: number,
      t: number,
      c: number,
      v: number,
      positions: number,
      positionOffset: number,
      scale: number,
      out: Floats,
      tokens: Int32Array,
      wte: Floats,
      wpe: FloatsOrNull,
      starts: Int32Array | null,
    ]
  ): void;
  embeddingBackward(
    ...args: [
      engine: number,
      b: number,
      t: number,
      c: number,
      v: number,
      positions: number,
      scale: number,
      dwte: FloatsOrNull,
      dwpe: FloatsOrNull,
      dout: Floats,
      tokens: Int32Array,
      starts: Int32Array | null,
    ]
  ): void;
  layerNormForward(
    ...args: [
      engine: number,
      n: number,
      c: number,
      eps: number,
      out: AnyFloats,
      mean: Floats,
      rstd: Floats,
      inp: Floats,
      weight: Floats,
      bias: FloatsOrNull,
    ]
  ): void;
  layerNormBackward(
    ...args: [
      engine: number,
      n: number,
      c: number,
      accumulate: boolean,
      dinp: FloatsOrNull,
      dweight: FloatsOrNull,
      dbias: FloatsOrNull,
      dout: AnyFloats,
      inp: Floats,
      weight: Floats,
      mean: Floats,
      rstd: Floats,
    ]
  ): void;
  rmsNormForward(
    ...args: [
      engine: number,
      n: number,
      c: number,
      eps: number,
      out: AnyFloats,
      rstd: Floats,
      inp: Floats,
      weight: Floats,
    ]
  ): void;
  rmsNormBackward(
    ...args: [
      engine: number,
      n: number,
      c: number,
      accumulate: boolean,
      dinp: FloatsOrNull,
      dweight: FloatsOrNull,
      dout: AnyFloats,
      inp: Floats,
      weight: Floats,
      rstd: Floats,
    ]
  ): void;
  rope(
    ...args: [
      engine: number,
      b: number,
      t: number,
      width: number,
      heads: number,
      headSize: number,
      rows: number,
      inverse: boolean,
      out: AnyFloats,
      inp: AnyFloats,
      table: Floats,
      positions: Int32Array | null,
      starts: Int32Array | null,
    ]
  ): void;
  gatedActivationForward(
    ...args: [engine: number, n: number, inner: number, kind: string, out: AnyFloats, inp: AnyFloats]
  ): void;
  gatedActivationBackward(
    ...args: [engine: number, n: number, inner: number, kind: string, dinp: AnyFloats, dout: AnyFloats, inp: AnyFloats]
  ): void;
  linearForward(
    ...args: [
      engine: number,
      n: number,
      ic: number,
      oc: number,
      weightTransposed: boolean,
      rowsApart: boolean,
      samples: number,
      activation: ActivationKind | 'none',
      out: AnyFloats,
      preActivation: AnyFloats | null,
      inp: AnyFloats,
      weight: Floats,
      bias: FloatsOrNull,
      residual: AnyFloats | null,
      rate: number,
      keys: Keys,
    ]
  ): void;
  linearBackward(
    ...args: [
      engine: number,
      n: number,
      ic: number,
      oc: number,
      weightTransposed: boolean,
      accumulate: boolean,
      dinpActivation: ActivationKind | 'none',
      dinp: AnyFloats | null,
      dinpPreActivation: AnyFloats | null,
      dweight: FloatsOrNull,
      dbias: FloatsOrNull,
      dout: AnyFloats,
      inp: AnyFloats,
      weight: Floats,
    ]
  ): void;
  activationForward(engine: number, size: number, kind: ActivationKind, out: AnyFloats, inp: AnyFloats): void;
  activationBackward(
    ...args: [engine: number, size: number, kind: ActivationKind, dinp: AnyFloats, dout: AnyFloats, inp: AnyFloats]
  ): void;
  attentionForward(
    ...args: [
      engine: number,
      b: number,
      tq: number,
      tk: number,
      nHead: number,
      nKvHead: number,
      headSize: number,
      out: AnyFloats,
      lse: Floats,
      kv: AnyFloats | null,
      q: AnyFloats,
      starts: Int32Array | null,
      ends: Int32Array | null,
      rate: number,
      keys: Keys,
    ]
  ): void;
  attentionBackward(
    ...args: [
      engine: number,
      b: number,
      tq: number,
      tk: number,
      nHead: number,
      nKvHead: number,
      headSize: number,
      dkv: AnyFloats | null,
      dq: AnyFloats,
      dout: AnyFloats,
      out: AnyFloats,
      kv: AnyFloats | null,
      q: AnyFloats,
      lse: Floats,
      starts: Int32Array | null,
      ends: Int32Array | null,
      rate: number,
      keys: Keys,
    ]
  ): void;
  attentionDecode(
    ...args: [
      engine: number,
      b: number,
      t: number,
      nHead: number,
      nKvHead: number,
      headSize: number,
      out: Floats,
      qkv: FloatsOrNull,
      q: FloatsOrNull,
      positions: Int32Array,
      keys: readonly Floats[],
      values: readonly Floats[],
    ]
  ): void;
  crossEntropy(
    ...args: [
      engine: number,
      n: number,
      v: number,
      scale: number,
      losses: Floats,
      logits: Floats,
      targets: Int32Array,
      dlogits: FloatsOrNull,
      weights: FloatsOrNull,
    ]
  ): void;
  /** `logits` is scratch, of `rows` rows. */
  linearCrossEntropy(
    ...args: [
      engine: number,
      n: number,
      ic: number,
      v: number,
      rows: number,
      weightTransposed: boolean,
      scale: number,
      losses: Floats,
      logits: Floats,
      dinp: AnyFloats | null,
      dweight: FloatsOrNull,
      inp: AnyFloats,
      weight: Floats,
      targets: Int32Array,
      weights: FloatsOrNull,
    ]
  ): void;
  squaredNorm(engine: number, array: Floats): number;
  /** `ranges` has the start and end of each tensor in the blocks, and its start in `v`. */
  adamw(
    ...args: [
      engine: number,
      learningRate: number,
      beta1: number,
      beta2: number,
      eps: number,
      step: number,
      gradScale: number,
      zeroGrads: boolean,
      params: Floats,
      grads: Floats,
      m: Floats,
      v: Floats,
      ranges: Float64Array,
      weightDecay: Float64Array,
      average: Floats | null,
      averageWeight: number,
    ]
  ): void;
  weightedSum(
    ...args: [
      engine: number,
      rows: number,
      columns: number,
      out: Floats,
      outStart: number,
      outStride: number,
      a: Floats,
      aStart: number,
      aStride: number,
      b: Floats,
      bStart: number,
      bStride: number,
      scaleA: number,
      scaleB: number,
    ]
  ): void;
  normalise(engine: number, array: Floats, eps: number): void;
}

export interface NativeFound {
  readonly addon: NativeAddon;
  /** From a compiler on this machine, or from the package of this platform. */
  readonly origin: 'compiled' | 'prebuilt';
}

export interface NativeNotFound {
  /** Why none of the files that were found is used, in the order in which they were tried. */
  readonly problems: readonly string[];
  /** Whether the package of this platform is among the optional dependencies. */
  readonly isListed: boolean;
}

let search: NativeFound | NativeNotFound | undefined;

/** Searches once. */
export function findNative(): NativeFound | NativeNotFound {
  search ??= (
    createRequire(import.meta.url)(join(packageRoot, 'native', 'findAddon.cjs')) as {
      findAddon(root: string): NativeFound | NativeNotFound;
    }
  ).findAddon(packageRoot);
  return search;
}
