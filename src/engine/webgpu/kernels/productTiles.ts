/** Which program and which tile a device gets for a product. The order of its sums, and so its results, do not depend on them. */
import type { Gpu } from '../gpu.ts';
import { softwareLanes } from '../softwareLanes.ts';
import type { LanesTile } from './productLanes.ts';
import type { Tile } from './productTile.ts';

export type ProductPlan = ({ readonly program: 'tile' } & Tile) | ({ readonly program: 'lanes' } & LanesTile);

/** The plan for a product of `m` rows. */
export function planFor(gpu: Gpu, m: number): ProductPlan {
  const lanes = softwareLanes(gpu);
  if (lanes > 0) {
    return {
      program: 'lanes',
      lanes,
      rowsPerLane: m <= lanes ? 1 : 4,
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
