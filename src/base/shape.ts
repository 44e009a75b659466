/** Number of elements in an array of this shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, extent) => size * extent, 1);
}

/** The last dimension of a tensor: the number of channels. */
export function lastExtent({ shape }: { readonly shape: readonly number[] }): number {
  return shape.at(-1) ?? 1;
}
