/** WGSL of rows whose numbers are read one or four at a time. */

/** Numbers in a vector: four where rows are a multiple of it. */
export type Width = 1 | 4;

export function widthOf(columns: number): Width {
  return columns % 4 === 0 ? 4 : 1;
}

/** The WGSL type. */
export function vectorOf(width: Width): 'vec4f' | 'f32' {
  return width === 4 ? 'vec4f' : 'f32';
}

/** The WGSL expression of the sum of a vector's numbers. */
export function sumOfVector(width: Width, vector: string): string {
  return width === 4 ? `dot(${vector}, vec4f(1.0))` : vector;
}
