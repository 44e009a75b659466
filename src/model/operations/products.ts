/** How the products of a pass read and write numbers, by its precision: what the operations of the tape have in common. */
import type { LinearOptions } from '../../engine/linearOptions.ts';
import type { Precision } from '../computing.ts';
import type { FloatType } from '../variable.ts';

export interface Products {
  /** The type of what products read, and of their results: those of norms, of linear layers without a residual, and of attention. */
  readonly type: FloatType;
  /** How linear layers and the head read their factors. */
  readonly operands: Pick<LinearOptions, 'operands'>;
}

export function productsOf(precision: Precision): Products {
  return {
    type: precision === 'bf16' ? 'bfloat16' : 'float32',
    operands: precision === 'f16' ? { operands: 'float16' } : {},
  };
}
