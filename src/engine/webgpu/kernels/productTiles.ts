/** Which program and which tile a device gets for a product. The order of its sums, and so its results, do not depend on them. */
import type { Gpu } from '../gpu.ts';
import type { LanesTile } from './productLanes.ts';
import type { Tile } from './productTile.ts';

export type ProductPlan = ({ readonly program: 'tile' } & Tile) | ({ readonly program: 'lanes' } & LanesTile);

/** The plan for a product of `m` rows. */
export function planFor({ device, info }: Gpu, m: number): ProductPlan {
  const { isFallbackAdapter, subgroupMinSize, subgroupMaxSize } = info;
  if (isFallbackAdapter && device.features.has('subgroups') && subgroupMinSize === subgroupMaxSize) {
    return {
      program: 'lanes',
      lanes: subgroupMaxSize,
      rowsPerLane: m <= subgroupMaxSize ? 1 : 4,
      columnsPerLane: 4,
      unroll: 1,
    };
  }
  return { program: 'tile', rows: 64, columns: 64, depth: 16, threadRows: 8, threadColumns: 8 };
}

/** Rows and columns of a workgroup. */
export function extentOf(plan: ProductPlan): { rows: number; columns: number } {
  if (plan.program === 'tile') return plan;
  return { rows: plan.lanes * plan.rowsPerLane, columns: plan.lanes * plan.columnsPerLane };
}
