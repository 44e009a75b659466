/** Token and position embeddings. */
import { invariant } from '../../../base/errors.ts';
import { lastExtent } from '../../../base/shape.ts';
import { positionsOf } from '../../documents.ts';
import { expectTokens } from '../../hostIntegers.ts';
import type { KernelOptions } from '../../kernels.ts';
import { checkGradients } from '../../linearOptions.ts';
import type { Gpu } from '../gpu.ts';
import { type GpuTensor, gpuTensor, hostIntegers } from '../memory.ts';
import { flatGroups, flatMain, memoized, program } from '../program.ts';
import { documentBindings } from '../wgsl/documents.ts';
import { vectorOf, type Width, widthOf } from '../wgsl/vectors.ts';
import { startsOf } from './documents.ts';
import { partOf, type RowPart, rowParts } from './rowParts.ts';
import { ofSize } from './sameSize.ts';
import { planOfSums, SUM_WORDS } from './tokenSums.ts';

/** Looks up the tokens that have a row in the bound part of the table. */
const lookUp = (position: string): string =>
  flatMain(`
  let row = i / params.columns;
  let column = i - row * params.columns;
  let token = u32(tokens[row]) - params.firstToken;
  if (token >= params.tokenCount) { return; }
  out[i] = params.scale * wte[token * params.columns + column]${position};`);

const lookUpParams = { count: 'u32', columns: 'u32', firstToken: 'u32', tokenCount: 'u32', scale: 'f32' } as const;

const forward = memoized((width: Width) =>
  program({
    name: `embeddingForward x${width}`,
    bindings: { out: `read_write ${vectorOf(width)}`, tokens: 'read i32', wte: `read ${vectorOf(width)}` },
    params: lookUpParams,
    code: lookUp(''),
  }),
);

const forwardWithPositions = memoized((width: Width, hasDocuments: boolean) => {
  const start = hasDocuments ? ' - u32(starts[row])' : '';
  const position = `params.positionOffset + (params.firstRow + row) % params.time${start}`;
  return program({
    name: `embeddingForward positions${hasDocuments ? ' in documents' : ''} x${width}`,
    bindings: documentBindings(
      {
        out: `read_write ${vectorOf(width)}`,
        tokens: 'read i32',
        wte: `read ${vectorOf(width)}`,
        wpe: `read ${vectorOf(width)}`,
      } as const,
      hasDocuments,
    ),
    params: { ...lookUpParams, firstRow: 'u32', time: 'u32', positionOffset: 'u32' },
    code: lookUp(` + wpe[(${position}) * params.columns + column]`),
  });
});

/** Sums of rows, multiplied by a scale: sum k goes to row plan[first + 3k], of the plan[first + 3k + 2] rows that plan names from plan[first + 3k + 1] on. */
const rowSums = memoized((width: Width) =>
  program({
    name: `embeddingBackward tokens x${width}`,
    bindings: { to: `read_write ${vectorOf(width)}`, rows: `read ${vectorOf(width)}`, plan: 'read u32' },
    params: { count: 'u32', columns: 'u32', first: 'u32', accumulate: 'u32', scale: 'f32' },
    code: flatMain(`
  let k = i / params.columns;
  let column = i - k * params.columns;
  let at = params.first + ${SUM_WORDS}u * k;
  let start = plan[at + 1u];
  let end = start + plan[at + 2u];
  var sum = ${vectorOf(width)}();
  for (var j = start; j < end; j++) { sum += params.scale * rows[plan[j] * params.columns + column]; }
  let into = plan[at] * params.columns + column;
  if (params.accumulate == 1u) { sum += to[into]; }
  to[into] = sum;`),
  }),
);

const positionSums = memoized((width: Width) =>
  program({
    name: `embeddingBackward positions x${width}`,
    bindings: { dwpe: `read_write ${vectorOf(width)}`, dout: `read ${vectorOf(width)}` },
    params: { count: 'u32', columns: 'u32', rows: 'u32', firstRow: 'u32', time: 'u32' },
    code: flatMain(`
  let position = i / params.columns;
  let column = i - position * params.columns;
  var sum = ${vectorOf(width)}();
  for (var row = (position + params.time - params.firstRow % params.time) % params.time; row < params.rows; row += params.time) {
    sum += dout[row * params.columns + column];
  }
  dwpe[i] += sum;`),
  }),
);

export function embeddingForward(gpu: Gpu, options: KernelOptions<'embeddingForward'>): void {
  const { positionOffset = 0, scale = 1 } = options;
  const wte = gpuTensor(options.wte, 'wte');
  const tokens = gpuTensor(options.tokens, 'tokens');
  const c = lastExtent(wte);
  const time = lastExtent(tokens);
  const out = ofSize(options.out, 'out', tokens.size * c);
  const wpe = options.wpe && positionTable(options.wpe, 'wpe', c, positionOffset + time);
  expectTokens('embeddingForward', hostIntegers(tokens, 'tokens'), wte);
  const starts = startsOf('embeddingForward', options, tokens.size / time, time);
  const width = widthOf(c);
  const columns = c / width;
  for (const rows of rowParts(gpu, tokens.size, c)) {
    const count = rows.rows * columns;
    for (const table of rowParts(gpu, wte.size / c, c)) {
      const tensors = { out: partOf(out, rows, c), tokens: partOf(tokens, rows, 1), wte: partOf(wte, table, c) };
      const params = { count, columns, firstToken: table.first, tokenCount: table.rows, scale };
      const groups = flatGroups(count);
      if (wpe === undefined) gpu.run(forward(width), { tensors, params, groups });
      else {
        const position = { firstRow: rows.first, time, positionOffset };
        const documents = starts && { starts: partOf(starts, rows, 1) };
        const call = { tensors: { ...tensors, wpe, ...documents }, params: { ...params, ...position }, groups };
        gpu.run(forwardWithPositions(width, starts !== undefined), call);
      }
    }
  }
}

export function embeddingBackward(gpu: Gpu, options: KernelOptions<'embeddingBackward'>): void {
  checkGradients('embeddingBackward', options.dwte, options.dwpe);
  const tokens = gpuTensor(options.tokens, 'tokens');
  const c = lastExtent(options.dout);
  const time = lastExtent(tokens);
  const dout = ofSize(options.dout, 'dout', tokens.size * c);
  const dwte = options.dwte && gpuTensor(options.dwte, 'dwte');
  const dwpe = options.dwpe && positionTable(options.dwpe, 'dwpe', c, time);
  const values = hostIntegers(tokens, 'tokens');
  if (dwte !== undefined) {
    invariant(lastExtent(dwte) === c, `dwte is [${dwte.shape}]; expected rows of ${c} numbers`);
    expectTokens('embeddingBackward', values, dwte);
  }
  const starts = startsOf('embeddingBackward', options, tokens.size / time, time);
  const positions = starts && positionsOf(hostIntegers(starts, 'starts'), time);
  const width = widthOf(c);
  const columns = c / width;
  for (const part of rowParts(gpu, tokens.size, c)) {
    if (dwte !== undefined) tokenGradient(gpu, { table: dwte, dout, values, part, c, scale: options.scale ?? 1 });
    if (dwpe === undefined) continue;
    if (positions !== undefined) {
      tokenGradient(gpu, { table: dwpe, dout, values: positions, part, c, scale: 1 });
      continue;
    }
    const count = time * columns;
    gpu.run(positionSums(width), {
      tensors: { dwpe: { tensor: dwpe, from: 0, length: time * c }, dout: partOf(dout, part, c) },
      params: { count, columns, rows: part.rows, firstRow: part.first, time },
      groups: flatGroups(count),
    });
  }
}

interface TokenGradient {
  readonly table: GpuTensor;
  readonly dout: GpuTensor;
  /** For each row of dout the row of the table. */
  readonly values: Int32Array;
  /** The rows of dout. */
  readonly part: RowPart;
  readonly c: number;
  /** Multiplies the rows of dout. */
  readonly scale: number;
}

/** Adds the rows of dout that belong to a token, or to a position, to its row of the table. */
function tokenGradient(gpu: Gpu, { table, dout, values, part, c, scale: rowScale }: TokenGradient): void {
  const width = widthOf(c);
  const columns = c / width;
  const tokens = values.subarray(part.first, part.first + part.rows);
  for (const rows of rowParts(gpu, table.size / c, c)) {
    const plan = planOfSums(tokens, rows);
    if (plan.words.length === 0) continue;
    const toTable = partOf(table, rows, c);
    const fromRows = partOf(dout, part, c);
    gpu.withTemporary(
      [plan.words.length],
      (words) => {
        gpu.commands.write(words.buffer, words.byteOffset, plan.words);
        const sum = (
          { first, sums }: { first: number; sums: number },
          to: typeof toTable,
          rows: typeof toTable,
          { isAdded, scale }: { isAdded: boolean; scale: number },
        ): void => {
          if (sums === 0) return;
          gpu.run(rowSums(width), {
            tensors: { to, rows, plan: words },
            params: { count: sums * columns, columns, first, accumulate: isAdded ? 1 : 0, scale },
            groups: flatGroups(sums * columns),
          });
        };
        sum(plan.direct, toTable, fromRows, { isAdded: true, scale: rowScale });
        if (plan.pieces.sums === 0) return;
        gpu.withTemporary([plan.pieces.sums, c], (pieces) => {
          sum(plan.pieces, pieces, fromRows, { isAdded: false, scale: rowScale });
          sum(plan.ofPieces, toTable, pieces, { isAdded: true, scale: 1 });
        });
      },
      'int32',
    );
  }
}

function positionTable(
  tensor: GpuTensor | KernelOptions<'embeddingForward'>['out'],
  name: string,
  c: number,
  rows: number,
) {
  const table = gpuTensor(tensor, name);
  invariant(
    lastExtent(table) === c && table.size >= rows * c,
    `${name} is [${table.shape}]; expected at least ${rows} rows of ${c} numbers`,
  );
  return table;
}
