/**
 * Softmax and cross-entropy: some lanes share a row. They read it once for the maximum and the sum of exponentials, and once more for
 * the gradient.
 */
import { lastExtent } from '../../../base/shape.ts';
import { expectTargets } from '../../hostIntegers.ts';
import type { KernelOptions } from '../../kernels.ts';
import type { Bound } from '../commands.ts';
import type { Gpu } from '../gpu.ts';
import { gpuTensor, hostIntegers } from '../memory.ts';
import { memoized, program } from '../program.ts';
import { type Lanes, laneFunctions, lanesOf, rowGroups, rowMain } from '../wgsl/lanes.ts';
import { partOf, rowParts } from './rowParts.ts';
import { ofSize } from './sameSize.ts';

/** Four logits at a time, read in the order of the lanes. The maximum starts at a logit, because infinities need not exist in WGSL. */
const reduction = (lanes: Lanes): string => `
  let start = min(row, params.rows - 1u) * params.stride;
  let end = select(0u, params.columns, isRow);
  var most = logits[start];
  var sum = 0.0;
  var i = lane;
  for (; i + ${3 * lanes}u < end; i += ${4 * lanes}u) {
    let at = start + i;
    let x = vec4f(logits[at], logits[at + ${lanes}u], logits[at + ${2 * lanes}u], logits[at + ${3 * lanes}u]);
    let next = max(max(x.x, x.y), max(x.z, x.w));
    if (next > most) {
      sum *= exp(most - next);
      most = next;
    }
    sum += dot(exp(x - most), vec4f(1.0));
  }
  for (; i < end; i += ${lanes}u) {
    let x = logits[start + i];
    if (x > most) {
      sum *= exp(most - x);
      most = x;
    }
    sum += exp(x - most);
  }
  let rowMost = mostOfLanes(most, lane, local);
  let rowSum = sumOfLanes(sum * exp(most - rowMost), lane, local);
  let label = targets[min(row, params.rows - 1u)];
  let labelLogit = logits[start + u32(max(label, 0))];
  storageBarrier(); // What follows may write the logits.
  if (!isRow) { return; }
  if (lane == 0u) { losses[row] = select(0.0, (rowMost - labelLogit) + log(rowSum), label >= 0); }`;

/** A row without a target has the gradient 0 whatever its weight is. */
const derivative = (lanes: Lanes, to: string, weight: string): string => `
  var scale = 0.0;
  if (label >= 0) { scale = params.scale${weight}; }
  let factor = scale / rowSum;
  for (var j = lane; j < end; j += ${lanes}u) {
    let d = exp(logits[start + j] - rowMost) * factor;
    ${to}[start + j] = select(d, d - scale, i32(j) == label);
  }
  for (var j = params.columns + lane; j < params.stride; j += ${lanes}u) { ${to}[start + j] = 0.0; }`;

const params = { rows: 'u32', columns: 'u32', stride: 'u32', scale: 'f32' } as const;
const always = { losses: 'read_write f32', targets: 'read i32' } as const;

function definition(kind: string, lanes: Lanes, rest: string) {
  return {
    name: `crossEntropy ${kind} x${lanes}`,
    params,
    code: laneFunctions(lanes) + rowMain(lanes, reduction(lanes) + rest),
  };
}

const lossesAlone = memoized((lanes: Lanes) =>
  program({ ...definition('losses', lanes, ''), bindings: { ...always, logits: 'read f32' } }),
);

const gradientApart = memoized((lanes: Lanes) =>
  program({
    ...definition('gradient', lanes, derivative(lanes, 'dlogits', '')),
    bindings: { ...always, logits: 'read f32', dlogits: 'read_write f32' },
  }),
);

const gradientApartWeighted = memoized((lanes: Lanes) =>
  program({
    ...definition('gradient weighted', lanes, derivative(lanes, 'dlogits', ' * weights[row]')),
    bindings: { ...always, logits: 'read f32', dlogits: 'read_write f32', weights: 'read f32' },
  }),
);

const gradientInPlace = memoized((lanes: Lanes) =>
  program({
    ...definition('in place', lanes, derivative(lanes, 'logits', '')),
    bindings: { ...always, logits: 'read_write f32' },
  }),
);

const gradientInPlaceWeighted = memoized((lanes: Lanes) =>
  program({
    ...definition('in place weighted', lanes, derivative(lanes, 'logits', ' * weights[row]')),
    bindings: { ...always, logits: 'read_write f32', weights: 'read f32' },
  }),
);

/** Rows that fit a binding. */
export interface LossRows {
  readonly losses: Bound;
  readonly targets: Bound;
  readonly logits: Bound;
  /** 'inPlace': instead of the logits. */
  readonly dlogits: Bound | 'inPlace' | undefined;
  readonly weights: Bound | undefined;
  readonly rows: number;
  readonly columns: number;
  /** Numbers from one row of logits to the next. */
  readonly stride: number;
  readonly scale: number;
}

export function lossOfRows(gpu: Gpu, { dlogits, weights, rows, columns, stride, scale, ...tensors }: LossRows): void {
  const lanes = lanesOf(columns);
  const call = { params: { rows, columns, stride, scale }, groups: rowGroups(rows, lanes) };
  if (dlogits === undefined) gpu.run(lossesAlone(lanes), { ...call, tensors });
  else if (dlogits === 'inPlace') {
    if (weights === undefined) gpu.run(gradientInPlace(lanes), { ...call, tensors });
    else gpu.run(gradientInPlaceWeighted(lanes), { ...call, tensors: { ...tensors, weights } });
  } else if (weights === undefined) gpu.run(gradientApart(lanes), { ...call, tensors: { ...tensors, dlogits } });
  else gpu.run(gradientApartWeighted(lanes), { ...call, tensors: { ...tensors, dlogits, weights } });
}

export function crossEntropy(gpu: Gpu, options: KernelOptions<'crossEntropy'>): void {
  const logits = gpuTensor(options.logits, 'logits');
  const v = lastExtent(logits);
  const n = logits.size / v;
  const losses = ofSize(options.losses, 'losses', n);
  const targets = ofSize(options.targets, 'targets', n);
  const dlogits = options.dlogits && ofSize(options.dlogits, 'dlogits', logits.size);
  const weights = options.weights && ofSize(options.weights, 'weights', n);
  expectTargets('crossEntropy', hostIntegers(targets, 'targets'), v);
  for (const part of rowParts(gpu, n, v)) {
    lossOfRows(gpu, {
      losses: partOf(losses, part, 1),
      targets: partOf(targets, part, 1),
      logits: partOf(logits, part, v),
      dlogits: dlogits === logits ? 'inPlace' : dlogits && partOf(dlogits, part, v),
      weights: weights && partOf(weights, part, 1),
      rows: part.rows,
      columns: v,
      stride: v,
      scale: options.scale ?? 1,
    });
  }
}
