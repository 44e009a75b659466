/**
 * Muon (Keller Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/): the update of a matrix is its momentum, made nearly orthogonal by
 * Newton and Schulz's iteration. Scaled as in "Muon is scalable for LLM training" (Liu et al., 2025, https://arxiv.org/abs/2502.16982), it
 * is as large as AdamW's, so both share a learning rate and a weight decay. Rationale: docs/decisions/muon.md.
 *
 * A matrix is [R, C], and n the smaller of both. All products are linear layers of the engine.
 */
import type { MergedMatrices } from '../architecture/parameters.ts';
import { invariant } from '../base/errors.ts';
import type { Engine } from '../engine/engine.ts';
import type { MatrixPart } from '../engine/optimizerOptions.ts';
import type { Shape, Tensor } from '../engine/tensor.ts';
import type { Parameters } from './parameterStore.ts';

/** The coefficients of p(x) = a·x + b·x³ + c·x⁵, which moves singular values towards 1, small ones as fast as possible. */
const [a, b, c] = [3.4445, -4.775, 2.0315];
const iterations = 5;
/** Keeps the division by the norm finite. */
const eps = 1e-7;
/** The root mean square of an element of AdamW's updates, as measured by Liu et al. */
const updateRms = 0.2;

/** One update of all matrices. */
export interface MuonStep {
  readonly learningRate: number;
  /** Decoupled: param -= learningRate · weightDecay · param, before the update. */
  readonly weightDecay: number;
  /** Decay rate of the average of gradients. */
  readonly momentum: number;
  /** The gradients are multiplied by this first (clipping). */
  readonly gradScale: number;
  /** The share of the updated parameters in their averages; undefined without averages. */
  readonly averageWeight: number | undefined;
}

/** Updates the matrices of `parameters` that Muon updates, and their averages, and zeroes their gradients. */
export function applyMuon(engine: Engine, parameters: Parameters, step: MuonStep): void {
  for (const index of parameters.updatedBy.muon) {
    const { matrices, shape, name } = parameters.trained[index]!;
    invariant(matrices !== undefined, `${name} is not a matrix of a block`);
    const tensorOf = (group: 'values' | 'grads' | 'm') => parameters[group].tensors[index]!;
    const [value, grad, momentum] = [tensorOf('values'), tensorOf('grads'), tensorOf('m')];
    const [rows, columns] = shape as [number, number];
    const whole = { rows, columns };
    const rest = (1 - step.momentum) * step.gradScale;
    engine.weightedSum({
      ...whole,
      out: { tensor: momentum },
      a: { tensor: momentum },
      b: { tensor: grad },
      scaleA: step.momentum,
      scaleB: rest,
    });
    for (const part of partsOf(matrices, whole)) {
      const [inGrad, inMomentum, inValue] = [grad, momentum, value].map((tensor) => ({ ...part.place, tensor }));
      withTensors(engine, [part.shape, part.shape], ([direction, spare]) => {
        const size = { rows: part.shape[0], columns: part.shape[1] };
        // Nesterov's: the momentum as it will be after one more such gradient.
        engine.weightedSum({
          ...size,
          out: { tensor: direction! },
          a: inGrad!,
          b: inMomentum!,
          scaleA: rest,
          scaleB: step.momentum,
        });
        const { result, scale } = orthogonalised(engine, direction!, spare!);
        engine.weightedSum({
          ...size,
          out: inValue!,
          a: inValue!,
          b: { tensor: result },
          scaleA: 1 - step.learningRate * step.weightDecay,
          scaleB: -step.learningRate * updateRms * Math.sqrt(Math.max(size.rows, size.columns)) * scale,
        });
      });
    }
    const average = parameters.average?.tensors[index];
    if (average !== undefined && step.averageWeight !== undefined) {
      engine.weightedSum({
        ...whole,
        out: { tensor: average },
        a: { tensor: average },
        b: { tensor: value },
        scaleA: 1 - step.averageWeight,
        scaleB: step.averageWeight,
      });
    }
    engine.zero(grad);
  }
}

/** The matrices in a weight, and where each is. */
function partsOf({ axis, lengths }: MergedMatrices, { rows, columns }: { rows: number; columns: number }) {
  let start = 0;
  return lengths.map((length) => {
    const place: Pick<MatrixPart, 'row' | 'column'> = axis === 0 ? { row: start } : { column: start };
    start += length;
    const shape: readonly [number, number] = axis === 0 ? [length, columns] : [rows, length];
    return { place, shape };
  });
}

/**
 * The matrix with singular values near 1 that `direction` becomes, as one of both tensors and its factor.
 * That factor takes the place of a·x in each iteration, which is then Z ← Z + (b/a·s²·G + c/a·s⁴·G²)·Z and s ← a·s for X = s·Z, where G is
 * Z·Zᵀ or ZᵀZ. So the addition is part of a product, and no other operation reads [R, C].
 */
export function orthogonalised(engine: Engine, direction: Tensor, spare: Tensor): { result: Tensor; scale: number } {
  const [rows, columns] = direction.shape as [number, number];
  const n = Math.min(rows, columns);
  engine.normalise({ tensor: direction, eps });
  let [result, next] = [direction, spare];
  let scale = 1;
  withTensors(
    engine,
    [
      [n, n],
      [n, n],
    ],
    ([gram, square]) => {
      for (let i = 0; i < iterations; i++) {
        if (rows <= columns) {
          engine.linearForward({ inp: result, weight: result, weightTransposed: true, out: gram! });
        } else {
          engine.zero(gram!);
          engine.linearBackward({ inp: result, dout: result, weight: square!, dweight: gram! });
        }
        engine.linearForward({ inp: gram!, weight: gram!, out: square! });
        engine.weightedSum({
          rows: n,
          columns: n,
          out: { tensor: gram! },
          a: { tensor: gram! },
          b: { tensor: square! },
          scaleA: (b / a) * scale ** 2,
          scaleB: (c / a) * scale ** 4,
        });
        const [inp, weight] = rows <= columns ? [gram!, result] : [result, gram!];
        engine.linearForward({ inp, weight, residual: result, out: next });
        [result, next] = [next, result];
        scale *= a;
      }
    },
  );
  return { result, scale };
}

/** Calls `use` with tensors that nobody needs afterwards. */
function withTensors(engine: Engine, shapes: readonly Shape[], use: (tensors: readonly Tensor[]) => void): void {
  const tensors = shapes.map((shape) => engine.alloc(shape));
  try {
    use(tensors);
  } finally {
    for (const tensor of tensors) engine.release(tensor);
  }
}
