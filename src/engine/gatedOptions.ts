/** What every engine makes of the options of gated activations. */
import { invariant } from '../base/errors.ts';
import type { Tensor } from './tensor.ts';

/** N and I of `pairs` [N, 2I], whose rows are gate|up, and of `products` [N, I]. @throws InvariantError */
export function gatedShape(kernel: string, pairs: Tensor, products: Tensor) {
  const width = pairs.shape.at(-1) ?? 0;
  invariant(
    width > 0 && width % 2 === 0 && products.size * 2 === pairs.size,
    `${kernel}: expected [N, 2I] and [N, I], received [${pairs.shape}] and [${products.shape}]`,
  );
  return { n: pairs.size / width, inner: width / 2 };
}
