/** Layer norm over the last dimension: some lanes for each row, and for the gradients of weight and bias some rows for each column. */
import { lastExtent } from '../../../base/shape.ts';
import type { KernelOptions } from '../../kernels.ts';
import { checkGradients } from '../../linearOptions.ts';
import type { Gpu } from '../gpu.ts';
import { type GpuTensor, gpuTensor } from '../memory.ts';
import { flatGroups, flatMain, memoized, program } from '../program.ts';
import { type Lanes, laneFunctions, lanesOf, rowGroups, rowMain } from '../wgsl/lanes.ts';
import { sumOfVector, vectorOf, type Width, widthOf } from '../wgsl/vectors.ts';
import { addBlockSums, blocksOf } from './blockSums.ts';
import { partOf, type RowPart, rowParts } from './rowParts.ts';
import { ofSize } from './sameSize.ts';

const normalise = (lanes: Lanes, width: Width, bias: string): string =>
  laneFunctions(lanes) +
  rowMain(
    lanes,
    `
  let start = row * params.columns;
  let end = select(0u, params.columns, isRow);
  var sum = ${vectorOf(width)}();
  for (var i = lane; i < end; i += ${lanes}u) { sum += inp[start + i]; }
  let rowMean = sumOfLanes(${sumOfVector(width, 'sum')}, lane, local) / params.size;
  var squares = ${vectorOf(width)}();
  for (var i = lane; i < end; i += ${lanes}u) {
    let deviation = inp[start + i] - rowMean;
    squares += deviation * deviation;
  }
  let rowRstd = inverseSqrt(sumOfLanes(${sumOfVector(width, 'squares')}, lane, local) / params.size + params.eps);
  for (var i = lane; i < end; i += ${lanes}u) {
    out[start + i] = (inp[start + i] - rowMean) * rowRstd * weight[i]${bias};
  }
  if (isRow && lane == 0u) {
    mean[row] = rowMean;
    rstd[row] = rowRstd;
  }`,
  );

const forwardParams = { rows: 'u32', columns: 'u32', size: 'f32', eps: 'f32' } as const;

function forwardBindings(width: Width) {
  const vector = vectorOf(width);
  return {
    out: `read_write ${vector}`,
    mean: 'read_write f32',
    rstd: 'read_write f32',
    inp: `read ${vector}`,
    weight: `read ${vector}`,
  } as const;
}

const forward = memoized((lanes: Lanes, width: Width) =>
  program({
    name: `layerNormForward ${lanes}x${width}`,
    bindings: forwardBindings(width),
    params: forwardParams,
    code: normalise(lanes, width, ''),
  }),
);

const forwardWithBias = memoized((lanes: Lanes, width: Width) =>
  program({
    name: `layerNormForward bias ${lanes}x${width}`,
    bindings: { ...forwardBindings(width), bias: `read ${vectorOf(width)}` },
    params: forwardParams,
    code: normalise(lanes, width, ' + bias[i]'),
  }),
);

const inputGradient = memoized((lanes: Lanes, width: Width) =>
  program({
    name: `layerNormBackward input ${lanes}x${width}`,
    bindings: {
      dinp: `read_write ${vectorOf(width)}`,
      dout: `read ${vectorOf(width)}`,
      inp: `read ${vectorOf(width)}`,
      weight: `read ${vectorOf(width)}`,
      mean: 'read f32',
      rstd: 'read f32',
    },
    params: { rows: 'u32', columns: 'u32', size: 'f32', accumulate: 'u32' },
    code:
      laneFunctions(lanes) +
      rowMain(
        lanes,
        `
  let start = row * params.columns;
  let end = select(0u, params.columns, isRow);
  let last = min(row, params.rows - 1u);
  let rowMean = mean[last];
  let rowRstd = rstd[last];
  var sum = ${vectorOf(width)}();
  var sumWithNorm = ${vectorOf(width)}();
  for (var i = lane; i < end; i += ${lanes}u) {
    let d = dout[start + i] * weight[i];
    sum += d;
    sumWithNorm += d * ((inp[start + i] - rowMean) * rowRstd);
  }
  let meanD = sumOfLanes(${sumOfVector(width, 'sum')}, lane, local) / params.size;
  let meanWithNorm = sumOfLanes(${sumOfVector(width, 'sumWithNorm')}, lane, local) / params.size;
  for (var i = lane; i < end; i += ${lanes}u) {
    let norm = (inp[start + i] - rowMean) * rowRstd;
    var d = (dout[start + i] * weight[i] - meanD - norm * meanWithNorm) * rowRstd;
    if (params.accumulate == 1u) { d += dinp[start + i]; }
    dinp[start + i] = d;
  }`,
      ),
  }),
);

/** The sums of dout · norm (which becomes dweight) and of dout (dbias) over each block of rows: partials [blocks, 2, C]. */
const blockSums = memoized((width: Width) =>
  program({
    name: `layerNormBackward blocks x${width}`,
    bindings: {
      partials: `read_write ${vectorOf(width)}`,
      dout: `read ${vectorOf(width)}`,
      inp: `read ${vectorOf(width)}`,
      mean: 'read f32',
      rstd: 'read f32',
    },
    params: { count: 'u32', rows: 'u32', columns: 'u32', blockRows: 'u32' },
    code: flatMain(`
  let block = i / params.columns;
  let column = i - block * params.columns;
  let end = min(params.rows, (block + 1u) * params.blockRows);
  var dweight = ${vectorOf(width)}();
  var dbias = ${vectorOf(width)}();
  for (var row = block * params.blockRows; row < end; row++) {
    let d = dout[row * params.columns + column];
    dweight += d * ((inp[row * params.columns + column] - mean[row]) * rstd[row]);
    dbias += d;
  }
  partials[2u * block * params.columns + column] = dweight;
  partials[(2u * block + 1u) * params.columns + column] = dbias;`),
  }),
);

export function layerNormForward(gpu: Gpu, options: KernelOptions<'layerNormForward'>): void {
  const inp = gpuTensor(options.inp, 'inp');
  const c = lastExtent(inp);
  const n = inp.size / c;
  const out = ofSize(options.out, 'out', inp.size);
  const [mean, rstd] = [ofSize(options.mean, 'mean', n), ofSize(options.rstd, 'rstd', n)];
  const weight = ofSize(options.weight, 'weight', c);
  const bias = options.bias && ofSize(options.bias, 'bias', c);
  const width = widthOf(c);
  const lanes = lanesOf(c / width);
  for (const part of rowParts(gpu, n, c)) {
    const tensors = {
      out: partOf(out, part, c),
      mean: partOf(mean, part, 1),
      rstd: partOf(rstd, part, 1),
      inp: partOf(inp, part, c),
      weight,
    };
    const params = { rows: part.rows, columns: c / width, size: c, eps: options.eps };
    const groups = rowGroups(part.rows, lanes);
    if (bias === undefined) gpu.run(forward(lanes, width), { tensors, params, groups });
    else gpu.run(forwardWithBias(lanes, width), { tensors: { ...tensors, bias }, params, groups });
  }
}

export function layerNormBackward(gpu: Gpu, options: KernelOptions<'layerNormBackward'>): void {
  checkGradients('layerNormBackward', options.dinp, options.dweight, options.dbias);
  const inp = gpuTensor(options.inp, 'inp');
  const c = lastExtent(inp);
  const n = inp.size / c;
  const dout = ofSize(options.dout, 'dout', inp.size);
  const weight = ofSize(options.weight, 'weight', c);
  const saved = { mean: ofSize(options.mean, 'mean', n), rstd: ofSize(options.rstd, 'rstd', n) };
  const dinp = options.dinp && ofSize(options.dinp, 'dinp', inp.size);
  const dweight = options.dweight && ofSize(options.dweight, 'dweight', c);
  const dbias = options.dbias && ofSize(options.dbias, 'dbias', c);
  const width = widthOf(c);
  const lanes = lanesOf(c / width);
  for (const part of rowParts(gpu, n, c)) {
    const tensors = {
      dout: partOf(dout, part, c),
      inp: partOf(inp, part, c),
      mean: partOf(saved.mean, part, 1),
      rstd: partOf(saved.rstd, part, 1),
    };
    // First: dinp may be dout.
    if (dweight !== undefined || dbias !== undefined) parameterGradients(gpu, { tensors, part, c, dweight, dbias });
    if (dinp === undefined) continue;
    gpu.run(inputGradient(lanes, width), {
      tensors: { ...tensors, dinp: partOf(dinp, part, c), weight },
      params: { rows: part.rows, columns: c / width, size: c, accumulate: options.accumulate === true ? 1 : 0 },
      groups: rowGroups(part.rows, lanes),
    });
  }
}

interface ParameterGradients {
  readonly tensors: Readonly<Record<'dout' | 'inp' | 'mean' | 'rstd', ReturnType<typeof partOf>>>;
  readonly part: RowPart;
  readonly c: number;
  readonly dweight: GpuTensor | undefined;
  readonly dbias: GpuTensor | undefined;
}

function parameterGradients(gpu: Gpu, { tensors, part, c, dweight, dbias }: ParameterGradients): void {
  const { blockRows, blocks } = blocksOf(part.rows);
  const width = widthOf(c);
  const columns = c / width;
  gpu.withTemporary([blocks, 2, c], (partials) => {
    gpu.run(blockSums(width), {
      tensors: { ...tensors, partials },
      params: { count: blocks * columns, rows: part.rows, columns, blockRows },
      groups: flatGroups(blocks * columns),
    });
    for (const [which, to] of [dweight, dbias].entries()) {
      if (to !== undefined) addBlockSums(gpu, { to, partials }, { blocks, which, stride: 2 });
    }
  });
}
