/** What follows a matrix product before its result is stored, in WGSL: bias, activation, dropout and residual, or the slope of an activation. */
import type { ActivationKind } from '../../../base/activations.ts';
import type { Dropout } from '../../dropout.ts';
import type { Bound } from '../commands.ts';
import type { GpuTensor } from '../memory.ts';
import type { Binding, Scalar } from '../program.ts';
import { activationFunctions } from '../wgsl/activations.ts';
import { dropoutFunctions, dropoutParams, dropoutValues } from '../wgsl/dropout.ts';

/** Absent fields leave the sum as it is. At most one of `activation`, `residual`, `slope` and `accumulate`. */
export interface Epilogue {
  /** [n]: added first. */
  readonly bias?: GpuTensor | undefined;
  /** out = act(sum); the sum itself is stored in `preActivation`, of the size of `out`. */
  readonly activation?: { readonly kind: ActivationKind; readonly preActivation?: GpuTensor | undefined } | undefined;
  /** out = residual + sum, of the size of `out`; it may be `out`. */
  readonly residual?: GpuTensor | undefined;
  /** Dropout of the sum before the residual is added. A sample has `sampleSize` elements of `out`. */
  readonly dropout?: { readonly options: Dropout; readonly sampleSize: number } | undefined;
  /** out = sum · act'(preActivation), of the size of `out`. */
  readonly slope?: { readonly kind: ActivationKind; readonly preActivation: GpuTensor } | undefined;
  /** out += sum. */
  readonly accumulate?: boolean | undefined;
}

/** All that the WGSL of an epilogue depends on. */
export interface EpilogueVariant {
  readonly kind:
    | 'assign'
    | 'accumulate'
    | 'activation'
    | 'activation saved'
    | 'slope'
    | 'residual'
    | 'residual in place';
  readonly activation: ActivationKind | 'none';
  readonly bias: boolean;
  readonly dropout: boolean;
  /** Whether four columns are stored at once. */
  readonly vector: boolean;
}

/** Where a call stores its part of the result. */
export const outParams = {
  /** Rows and columns of the part. */
  m: 'u32',
  n: 'u32',
  /** The part's first element in the bound array, and the distance of rows. */
  outFrom: 'u32',
  outStride: 'u32',
  /** Where the part starts in the complete result. */
  firstRow: 'u32',
  firstColumn: 'u32',
} as const satisfies Readonly<Record<string, Scalar>>;

function kindOf({ activation, residual, slope, accumulate }: Epilogue, out: GpuTensor): EpilogueVariant['kind'] {
  if (activation !== undefined) return activation.preActivation === undefined ? 'activation' : 'activation saved';
  if (residual !== undefined) return residual === out ? 'residual in place' : 'residual';
  if (slope !== undefined) return 'slope';
  return accumulate === true ? 'accumulate' : 'assign';
}

/** Four columns are stored at once if all of `sizes`, the extents and offsets of the result, allow it. */
export function epilogueVariant(epilogue: Epilogue, out: GpuTensor, sizes: readonly number[]): EpilogueVariant {
  const { activation, slope, dropout, bias } = epilogue;
  return {
    kind: kindOf(epilogue, out),
    activation: activation?.kind ?? slope?.kind ?? 'none',
    bias: bias !== undefined,
    dropout: dropout !== undefined,
    vector: [...sizes, dropout?.sampleSize ?? 0].every((size) => size % 4 === 0),
  };
}

/** The declarations, and `finish(row, column, sum)`, which stores one element, or four columns of one row. */
export function epilogueText({ kind, activation, bias, dropout, vector }: EpilogueVariant) {
  const element = vector ? 'vec4f' : 'f32';
  const readsBeside = kind === 'slope' || kind === 'residual';
  const bindings: Record<string, Binding> = {
    out: `read_write ${element}`,
    ...(bias && { bias: `read ${element}` }),
    ...(readsBeside && { beside: `read ${element}` }),
    ...(kind === 'activation saved' && { saved: `read_write ${element}` }),
  };
  const params: Record<string, Scalar> = {
    ...outParams,
    ...(dropout && { ...dropoutParams, sampleSize: 'u32', width: 'u32' }),
  };
  const each = (call: (component: string, index: string) => string) =>
    vector
      ? `vec4f(${['x', 'y', 'z', 'w'].map((component, i) => call(`.${component}`, `${i}u`)).join(', ')})`
      : call('', '0u');
  const body = [
    `let at = (params.outFrom + row * params.outStride + column)${vector ? ' / 4u' : ''};`,
    'var y = sum;',
    ...(bias ? [`y += bias[(params.firstColumn + column)${vector ? ' / 4u' : ''}];`] : []),
    ...(dropout
      ? [
          'let index = (params.firstRow + row) * params.width + params.firstColumn + column;',
          'let sample = index / params.sampleSize;',
          'let key = dropoutKey(sample);',
          'let inside = index - sample * params.sampleSize;',
          `y = ${each((component, i) => `keep(key, inside + ${i}, y${component})`)};`,
        ]
      : []),
    {
      assign: 'out[at] = y;',
      accumulate: 'out[at] += y;',
      activation: `out[at] = ${each((component) => `activate(y${component})`)};`,
      'activation saved': `saved[at] = y; out[at] = ${each((component) => `activate(y${component})`)};`,
      slope: `let before = beside[at]; out[at] = y * ${each((component) => `activationSlope(before${component})`)};`,
      residual: 'out[at] = beside[at] + y;',
      'residual in place': 'out[at] += y;',
    }[kind],
  ];
  const code = `
${activation === 'none' ? '' : activationFunctions(activation)}
${dropout ? dropoutFunctions : ''}
fn finish(row: u32, column: u32, sum: ${element}) {
  ${body.join('\n  ')}
}`;
  return { bindings, params, code };
}

/** What a call of a program with this epilogue binds and is given; `part` makes of a tensor like `out` the part that the call stores. */
export function epilogueCall(
  { bias, activation, residual, dropout, slope }: Epilogue,
  out: GpuTensor,
  width: number,
  part: (tensor: GpuTensor) => Bound,
): { tensors: Record<string, Bound>; params: Record<string, number> } {
  const beside = slope?.preActivation ?? (residual === out ? undefined : residual);
  return {
    tensors: {
      out: part(out),
      ...(bias && { bias }),
      ...(beside && { beside: part(beside) }),
      ...(activation?.preActivation && { saved: part(activation.preActivation) }),
    },
    params: dropout ? { ...dropoutValues(dropout.options), sampleSize: dropout.sampleSize, width } : {},
  };
}
