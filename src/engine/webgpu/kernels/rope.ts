/** Rotary position embedding, in place: one invocation for the numbers that are rotated together. */
import type { KernelOptions } from '../../kernels.ts';
import { expectPositions, ropeShape } from '../../ropeOptions.ts';
import type { Gpu } from '../gpu.ts';
import { gpuTensor, hostIntegers } from '../memory.ts';
import { flatGroups, flatMain, memoized, program } from '../program.ts';
import { documentBindings } from '../wgsl/documents.ts';
import { vectorOf, type Width, widthOf } from '../wgsl/vectors.ts';
import { startsOf } from './documents.ts';
import { copy } from './elementwise.ts';
import { partOf, rowParts } from './rowParts.ts';

const rotation = memoized((width: Width, hasPositions: boolean, hasDocuments: boolean) => {
  const own = { out: `read_write ${vectorOf(width)}`, table: `read ${vectorOf(width)}` } as const;
  const withPositions = { ...own, positions: 'read i32' };
  const placed: typeof own = hasPositions ? withPositions : own;
  const position = [
    '(params.firstRow + row) % params.time',
    hasPositions ? ' + u32(positions[(params.firstRow + row) / params.time])' : '',
    hasDocuments ? ' - u32(starts[row])' : '',
  ];
  return program({
    name: `rope${hasPositions ? ' from positions' : ''}${hasDocuments ? ' in documents' : ''} x${width}`,
    bindings: documentBindings(placed, hasDocuments),
    params: { count: 'u32', columns: 'u32', heads: 'u32', half: 'u32', firstRow: 'u32', time: 'u32', sign: 'f32' },
    code: flatMain(`
  let pair = i % params.half;
  let head = i / params.half % params.heads;
  let row = i / params.half / params.heads;
  let turn = 2u * params.half * (${position.join('')}) + pair;
  let cosine = table[turn];
  let sine = params.sign * table[turn + params.half];
  let at = row * params.columns + 2u * params.half * head + pair;
  let a = out[at];
  let b = out[at + params.half];
  out[at] = a * cosine - b * sine;
  out[at + params.half] = b * cosine + a * sine;`),
  });
});

export function rope(gpu: Gpu, options: KernelOptions<'rope'>): void {
  const { heads, inverse = false } = options;
  const shape = ropeShape(options);
  const [out, table] = [gpuTensor(options.out, 'out'), gpuTensor(options.table, 'table')];
  const positions = options.positions && gpuTensor(options.positions, 'positions');
  expectPositions(positions === undefined ? null : hostIntegers(positions, 'positions'), shape.t, shape.rows);
  const starts = startsOf('rope', options, shape.b, shape.t);
  const half = shape.headSize / 2;
  const width = shape.width % 4 === 0 ? widthOf(half) : 1;
  if (options.inp !== options.out) copy(gpu, options);
  for (const part of rowParts(gpu, shape.b * shape.t, shape.width)) {
    const count = (part.rows * heads * half) / width;
    gpu.run(rotation(width, positions !== undefined, starts !== undefined), {
      tensors: {
        out: partOf(out, part, shape.width),
        table,
        ...(positions && { positions }),
        ...(starts && { starts: partOf(starts, part, 1) }),
      },
      params: {
        count,
        columns: shape.width / width,
        heads,
        half: half / width,
        firstRow: part.first,
        time: shape.t,
        sign: inverse ? -1 : 1,
      },
      groups: flatGroups(count),
    });
  }
}
