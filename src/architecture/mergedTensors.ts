/** Parameters here that are several tensors in the files of another library: the weight or bias of merged products, part after part. */
import type { NamedShape } from './architecture.ts';

/** The parts of a merged product, in the order of their rows, and the rows of each. */
export type MergedParts = readonly (readonly [part: string, rows: number])[];

/**
 * The tensors that hold a parameter there.
 * @param merged by the last two parts of a product's name, such as `self_attn.qkv_proj`, whose parts have names in the same module
 */
export function splitMerged(
  { name, shape }: NamedShape,
  merged: Readonly<Record<string, MergedParts>>,
): readonly NamedShape[] {
  for (const [whole, parts] of Object.entries(merged)) {
    const [before, after] = name.split(`.${whole}.`);
    if (after !== 'weight' && after !== 'bias') continue;
    const module = whole.split('.')[0];
    return parts.map(([part, rows]) => ({
      name: `${before}.${module}.${part}.${after}`,
      shape: [rows, ...shape.slice(1)],
    }));
  }
  return [{ name, shape }];
}
