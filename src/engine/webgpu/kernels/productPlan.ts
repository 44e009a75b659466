/**
 * Which program and which tile a device gets for a product. All sum an element in one order, which depends on the shapes alone; with
 * matrix units also on the GPU. The tiles for GPUs follow the literature: none has been measured on one yet.
 */
import type { Gpu } from '../gpu.ts';
import { MATRIX_GROUP, MATRIX_SUBGROUP, type MatrixUnit, matrixDepth } from '../matrixUnits.ts';
import { softwareLanes } from '../softwareLanes.ts';
import type { LanesTile } from './productLanes.ts';
import type { MatrixTile } from './productMatrix.ts';
import { FEW_COLUMNS, FEW_ROWS, FEW_SLICES } from './productRows.ts';
import type { Tile } from './productTile.ts';

export type ProductPlan =
  | ({ readonly program: 'tile' } & Tile)
  | ({ readonly program: 'lanes' } & LanesTile)
  | ({ readonly program: 'matrix' } & MatrixTile)
  | { readonly program: 'rows' };

const tile = (
  rows: number,
  columns: number,
  depth: number,
  threadRows: number,
  threadColumns: number,
): ProductPlan => ({
  program: 'tile',
  rows,
  columns,
  depth,
  threadRows,
  threadColumns,
});

/** For many and for few workgroups, by the vendor's name in WebGPU. All stay within 16 KiB of shared memory and 256 invocations. */
const tiles: Readonly<Record<string, { readonly large: ProductPlan; readonly small: ProductPlan }>> = {
  nvidia: { large: tile(128, 128, 16, 8, 8), small: tile(64, 64, 16, 4, 8) },
  amd: { large: tile(128, 64, 16, 8, 4), small: tile(64, 64, 16, 4, 4) },
  apple: { large: tile(64, 64, 16, 8, 4), small: tile(64, 32, 16, 4, 4) },
  intel: { large: tile(64, 64, 16, 4, 4), small: tile(32, 64, 16, 4, 4) },
};
const otherTiles = { large: tile(64, 64, 16, 4, 8), small: tile(64, 32, 16, 4, 4) };

/** All of them, for tests. */
export const gpuPlans = [...Object.values(tiles), otherTiles].flatMap(({ large, small }) => [large, small]);

/** Workgroups of a large tile that fill a GPU. */
const GROUPS_FULL = 128;

/**
 * The tiles of software drivers by the number of multiply-adds of a product: a large one takes longer to compile (0.1, 0.5 and 1.7 s) than it
 * saves a small product. docs/log.md, Matrix products in WGSL
 */
const softwareTiles = [
  { from: 2 ** 23, perLane: 8, terms: 2 },
  { from: 2 ** 22, perLane: 4, terms: 4 },
] as const;
/** Rows and columns of the largest tile, for any number of lanes: 128 take 10 s to compile. */
const SOFTWARE_TILE_MAX = 64;

interface ProductShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly rowsApart?: boolean;
  /** Whether operands are rounded to float16. */
  readonly half?: boolean;
}

/** The plan for a matrix unit. */
export function matrixPlan(unit: MatrixUnit): ProductPlan {
  const [group, subgroup] = [MATRIX_GROUP, MATRIX_SUBGROUP];
  const sizes = {
    rows: group,
    columns: group,
    depth: matrixDepth(unit.element),
    subgroupRows: subgroup,
    subgroupColumns: subgroup,
  };
  return { program: 'matrix', ...unit, ...sizes };
}

/** Whether rows are summed apart: a row's order of summation may not depend on the other rows then. */
export function areRowsApart({ m, rowsApart }: ProductShape): boolean {
  return m === 1 || rowsApart === true;
}

function lanesPlan(lanes: number, { m, n, k }: ProductShape): ProductPlan {
  for (const { from, perLane, terms } of softwareTiles) {
    const rows = Math.min(perLane, Math.ceil(SOFTWARE_TILE_MAX / lanes));
    const isMostlyFull = 4 * Math.min(m, n) >= 3 * rows * lanes;
    if (m * n * k >= from && isMostlyFull) {
      return { program: 'lanes', lanes, rowsPerLane: rows, columnsPerLane: rows, terms };
    }
  }
  return { program: 'lanes', lanes, rowsPerLane: 1, columnsPerLane: 2, terms: 1 };
}

/** The plan for a product. */
export function planFor(gpu: Gpu, shape: ProductShape): ProductPlan {
  const { m, n } = shape;
  const lanes = softwareLanes(gpu);
  if (lanes > 0) return lanesPlan(lanes, shape);
  if (areRowsApart(shape)) return { program: 'rows' };
  const unit = gpu.matrixUnits[shape.half === true ? 'f16' : 'f32'];
  if (unit !== undefined) return matrixPlan(unit);
  const { large, small } = tiles[gpu.info.vendor] ?? otherTiles;
  const { rows, columns } = extentOf(large);
  return Math.ceil(m / rows) * Math.ceil(n / columns) >= GROUPS_FULL ? large : small;
}

/** Rows and columns of a workgroup. */
export function extentOf(plan: ProductPlan): { readonly rows: number; readonly columns: number } {
  switch (plan.program) {
    case 'tile':
    case 'matrix':
      return plan;
    case 'lanes':
      return { rows: plan.lanes * plan.rowsPerLane, columns: plan.lanes * plan.columnsPerLane };
    case 'rows':
      return { rows: FEW_ROWS, columns: FEW_COLUMNS };
  }
}

/**
 * In how many slices k is summed. Rows apart: as many as invocations of a workgroup read side by side. Else so that a product of few
 * tiles and long sums, as of a weight's gradient, fills a GPU: about 256 workgroups of 64 × 64 elements.
 */
export function sliceCount(shape: ProductShape): number {
  const { m, n, k } = shape;
  if (areRowsApart(shape)) return k >= 256 ? FEW_SLICES : 1;
  const groups = Math.ceil(m / 64) * Math.ceil(n / 64);
  if (groups >= 128) return 1;
  return Math.max(1, Math.min(Math.ceil(256 / groups), Math.floor(k / 256), 32));
}
