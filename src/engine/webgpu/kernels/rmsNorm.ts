/** Root-mean-square norm over the last dimension: some lanes for each row, and for the gradient of the weight some rows for each column. */
import { lastExtent } from '../../../base/shape.ts';
import type { KernelOptions } from '../../kernels.ts';
import { checkGradients } from '../../linearOptions.ts';
import type { Gpu } from '../gpu.ts';
import { gpuTensor } from '../memory.ts';
import { flatGroups, flatMain, memoized, program } from '../program.ts';
import { type Lanes, laneFunctions, lanesOf, rowGroups, rowMain } from '../wgsl/lanes.ts';
import { sumOfVector, vectorOf, type Width, widthOf } from '../wgsl/vectors.ts';
import { addBlockSums, blocksOf } from './blockSums.ts';
import { partOf, rowParts } from './rowParts.ts';
import { ofSize } from './sameSize.ts';

const forward = memoized((lanes: Lanes, width: Width) =>
  program({
    name: `rmsNormForward ${lanes}x${width}`,
    bindings: {
      out: `read_write ${vectorOf(width)}`,
      rstd: 'read_write f32',
      inp: `read ${vectorOf(width)}`,
      weight: `read ${vectorOf(width)}`,
    },
    params: { rows: 'u32', columns: 'u32', size: 'f32', eps: 'f32' },
    code:
      laneFunctions(lanes) +
      rowMain(
        lanes,
        `
  let start = row * params.columns;
  let end = select(0u, params.columns, isRow);
  var squares = ${vectorOf(width)}();
  for (var i = lane; i < end; i += ${lanes}u) { squares += inp[start + i] * inp[start + i]; }
  let rowRstd = inverseSqrt(sumOfLanes(${sumOfVector(width, 'squares')}, lane, local) / params.size + params.eps);
  for (var i = lane; i < end; i += ${lanes}u) { out[start + i] = inp[start + i] * rowRstd * weight[i]; }
  if (isRow && lane == 0u) { rstd[row] = rowRstd; }`,
      ),
  }),
);

const inputGradient = memoized((lanes: Lanes, width: Width) =>
  program({
    name: `rmsNormBackward input ${lanes}x${width}`,
    bindings: {
      dinp: `read_write ${vectorOf(width)}`,
      dout: `read ${vectorOf(width)}`,
      inp: `read ${vectorOf(width)}`,
      weight: `read ${vectorOf(width)}`,
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
  let rowRstd = rstd[min(row, params.rows - 1u)];
  var sum = ${vectorOf(width)}();
  for (var i = lane; i < end; i += ${lanes}u) { sum += dout[start + i] * weight[i] * (inp[start + i] * rowRstd); }
  let along = sumOfLanes(${sumOfVector(width, 'sum')}, lane, local) / params.size;
  for (var i = lane; i < end; i += ${lanes}u) {
    var d = (dout[start + i] * weight[i] - inp[start + i] * rowRstd * along) * rowRstd;
    if (params.accumulate == 1u) { d += dinp[start + i]; }
    dinp[start + i] = d;
  }`,
      ),
  }),
);

/** The sums of dout · inp · rstd over each block of rows: partials [blocks, C]. */
const blockSums = memoized((width: Width) =>
  program({
    name: `rmsNormBackward blocks x${width}`,
    bindings: {
      partials: `read_write ${vectorOf(width)}`,
      dout: `read ${vectorOf(width)}`,
      inp: `read ${vectorOf(width)}`,
      rstd: 'read f32',
    },
    params: { count: 'u32', rows: 'u32', columns: 'u32', blockRows: 'u32' },
    code: flatMain(`
  let block = i / params.columns;
  let column = i - block * params.columns;
  let end = min(params.rows, (block + 1u) * params.blockRows);
  var sum = ${vectorOf(width)}();
  for (var row = block * params.blockRows; row < end; row++) {
    sum += dout[row * params.columns + column] * (inp[row * params.columns + column] * rstd[row]);
  }
  partials[i] = sum;`),
  }),
);

export function rmsNormForward(gpu: Gpu, options: KernelOptions<'rmsNormForward'>): void {
  const inp = gpuTensor(options.inp, 'inp');
  const c = lastExtent(inp);
  const n = inp.size / c;
  const [out, rstd] = [ofSize(options.out, 'out', inp.size), ofSize(options.rstd, 'rstd', n)];
  const weight = ofSize(options.weight, 'weight', c);
  const width = widthOf(c);
  const lanes = lanesOf(c / width);
  for (const part of rowParts(gpu, n, c)) {
    gpu.run(forward(lanes, width), {
      tensors: { out: partOf(out, part, c), rstd: partOf(rstd, part, 1), inp: partOf(inp, part, c), weight },
      params: { rows: part.rows, columns: c / width, size: c, eps: options.eps },
      groups: rowGroups(part.rows, lanes),
    });
  }
}

export function rmsNormBackward(gpu: Gpu, options: KernelOptions<'rmsNormBackward'>): void {
  checkGradients('rmsNormBackward', options.dinp, options.dweight);
  const inp = gpuTensor(options.inp, 'inp');
  const c = lastExtent(inp);
  const n = inp.size / c;
  const dout = ofSize(options.dout, 'dout', inp.size);
  const weight = ofSize(options.weight, 'weight', c);
  const rstd = ofSize(options.rstd, 'rstd', n);
  const dinp = options.dinp && ofSize(options.dinp, 'dinp', inp.size);
  const dweight = options.dweight && ofSize(options.dweight, 'dweight', c);
  const width = widthOf(c);
  const lanes = lanesOf(c / width);
  const columns = c / width;
  for (const part of rowParts(gpu, n, c)) {
    const tensors = { dout: partOf(dout, part, c), inp: partOf(inp, part, c), rstd: partOf(rstd, part, 1) };
    if (dweight !== undefined) {
      const { blockRows, blocks } = blocksOf(part.rows);
      gpu.withTemporary([blocks, c], (partials) => {
        gpu.run(blockSums(width), {
          tensors: { ...tensors, partials },
          params: { count: blocks * columns, rows: part.rows, columns, blockRows },
          groups: flatGroups(blocks * columns),
        });
        addBlockSums(gpu, { to: dweight, partials }, { blocks, which: 0, stride: 1 });
      });
    }
    if (dinp === undefined) continue;
    gpu.run(inputGradient(lanes, width), {
      tensors: { ...tensors, dinp: partOf(dinp, part, c), weight },
      params: { rows: part.rows, columns, size: c, accumulate: options.accumulate === true ? 1 : 0 },
      groups: rowGroups(part.rows, lanes),
    });
  }
}
