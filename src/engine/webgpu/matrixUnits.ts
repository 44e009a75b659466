/** The matrix units of a GPU: which it has, and which one products use. */

/** What a subgroup multiplies at once: a left matrix [m, k] and a right one [k, n], summed in float32. */
export interface MatrixUnit {
  readonly element: 'f16' | 'f32';
  readonly unitM: number;
  readonly unitN: number;
  readonly unitK: number;
  /** The size of a subgroup. */
  readonly lanes: number;
}

/** What a GPU says of its matrix units, and of its subgroups. */
export type MatrixInfo = Pick<GPUAdapterInfo, 'subgroupMinSize' | 'subgroupMaxSize'> & {
  readonly subgroupMatrixConfigs?: Iterable<{
    readonly componentType: string;
    readonly resultComponentType: string;
    readonly M: number;
    readonly N: number;
    readonly K: number;
  }>;
};

/** Rows and columns of what a subgroup sums by its matrix unit, and the depth of what shared memory holds. */
export const [MATRIX_SUBGROUP, MATRIX_DEPTH] = [32, 32];

/**
 * The matrix unit for products of these elements, summed in float32; the largest, if there are several. Undefined if the GPU has none, or
 * subgroups of several sizes: then a program cannot know how many invocations share a matrix.
 */
export function matrixUnitOf(info: MatrixInfo, element: MatrixUnit['element']): MatrixUnit | undefined {
  const { subgroupMinSize, subgroupMaxSize: lanes = 0, subgroupMatrixConfigs = [] } = info;
  if (lanes === 0 || subgroupMinSize !== lanes) return undefined;
  const units = [...subgroupMatrixConfigs]
    .filter(({ componentType, resultComponentType }) => componentType === element && resultComponentType === 'f32')
    .filter(
      ({ M, N, K }) => [M, N].every((size) => MATRIX_SUBGROUP % size === 0 && size % 4 === 0) && MATRIX_DEPTH % K === 0,
    )
    .sort((one, other) => other.M * other.N * other.K - one.M * one.N * one.K);
  const [unit] = units;
  return unit && { element, unitM: unit.M, unitN: unit.N, unitK: unit.K, lanes };
}
