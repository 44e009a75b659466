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

/** Rows and columns of a workgroup, and of the part that one of its subgroups sums. */
export const [MATRIX_GROUP, MATRIX_SUBGROUP] = [64, 32];
const SUBGROUPS = (MATRIX_GROUP / MATRIX_SUBGROUP) ** 2;

/** How deep a part of both operands shared memory holds: 8 KiB of them. */
export function matrixDepth(element: MatrixUnit['element']): number {
  return element === 'f16' ? 32 : 16;
}

/** Whether a workgroup stays within the 256 invocations and 16 KiB of shared memory that each device of WebGPU has. */
function fits({ unitM, unitN, element, lanes }: MatrixUnit): boolean {
  const operands = 2 * MATRIX_GROUP * matrixDepth(element) * (element === 'f16' ? 2 : 4);
  return SUBGROUPS * lanes <= 256 && operands + SUBGROUPS * unitM * unitN * 4 <= 16_384;
}

/**
 * The matrix unit for products of these elements, summed in float32; the largest, if there are several that fit a workgroup. Undefined if
 * the GPU has none, or subgroups of several sizes: then a program cannot know how many invocations share a matrix.
 */
export function matrixUnitOf(info: MatrixInfo, element: MatrixUnit['element']): MatrixUnit | undefined {
  const { subgroupMinSize, subgroupMaxSize: lanes = 0, subgroupMatrixConfigs = [] } = info;
  if (lanes === 0 || subgroupMinSize !== lanes) return undefined;
  const depth = matrixDepth(element);
  return [...subgroupMatrixConfigs]
    .filter(({ componentType, resultComponentType }) => componentType === element && resultComponentType === 'f32')
    .filter(({ M, N, K }) => [M, N].every((size) => MATRIX_SUBGROUP % size === 0 && size % 4 === 0) && depth % K === 0)
    .map(({ M, N, K }): MatrixUnit => ({ element, unitM: M, unitN: N, unitK: K, lanes }))
    .filter(fits)
    .sort((one, other) => other.unitM * other.unitN * other.unitK - one.unitM * one.unitN * one.unitK)[0];
}
