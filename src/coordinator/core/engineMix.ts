/**
 * Decides which workers may share a ring, by the engine and unit they compute on. Pure.
 *
 * Replicas must be equal bit for bit. Forward and backward may round differently, because the ring gives every rank the same sum of
 * all gradients. What each rank computes for itself must be equal: the additions in the ring (float32, the same everywhere), the
 * gradient's norm (rank 0's is sent to all with `commit`) and the update. Muon's has products, which every unit sums in an order of its own.
 */
import { instructionSetNames, instructionSets } from '../../base/instructionSets.ts';
import type { EngineId } from '../../comm/messageFields.ts';

interface Alike {
  readonly engine: string;
  readonly deviceKind: string;
  /** Units whose updates give the same bits. */
  readonly units: readonly string[] | 'all';
  readonly reason: string;
}

/** Different units that may be mixed with AdamW. test/parity/kernels/updateBits.test.ts and webgpuUpdate.test.ts verify these. */
export const alike: readonly Alike[] = [
  {
    engine: 'native',
    deviceKind: 'cpu',
    units: instructionSetNames.filter((name) => instructionSets[name].update === 'x86'),
    reason: 'AdamW does the same fused multiply-adds, divisions and roots on each number, however wide the vector is',
  },
  {
    engine: 'webgpu',
    deviceKind: 'gpu',
    units: 'all',
    reason: 'AdamW runs in integers, which every GPU computes alike',
  },
];

/** Why workers that differ in a field may not share a ring, and the remedy. Units only matter if no row of `alike` has both. */
const refusals = {
  engine: {
    reason: 'each engine rounds the update in its own way or lays out the gradients differently',
    remedy:
      'use the same engine everywhere: set engine.name=native for the run, or engine.name=tfjs where a machine cannot compile the native engine',
  },
  deviceKind: {
    reason: 'each kind of device rounds the update in its own way',
    remedy: 'use the same kind everywhere: set engine.deviceKind for the run',
  },
  precision: {
    reason: 'all workers of a run use the precision of its config',
    remedy: 'start the worker again with the same version of lockstep',
  },
  unit: {
    reason: 'they may round the update differently',
    remedy: 'use machines of one kind',
  },
} as const satisfies Record<keyof EngineId, { reason: string; remedy: string }>;

const muonRefusal = {
  reason: 'with optimizer.kind muon they would round the products of the update differently',
  remedy: 'use machines of one kind, or start a run with optimizer.kind adamw',
};

/** Devices whose unit does not say which processor computes, although the bits of products depend on it. */
const unknownProcessor: readonly Pick<EngineId, 'engine' | 'deviceKind'>[] = [
  { engine: 'tfjs', deviceKind: 'tensorflow' },
];

const processorRefusal = {
  reason: 'with optimizer.kind muon the processors of two machines may round the products of the update differently',
  remedy: 'run all workers on one machine, or start a run with engine.name native or optimizer.kind adamw',
};

/**
 * Why two workers may not share a ring, and the remedy; undefined if they may.
 * @param options `muon`: Muon updates some parameters; `apart`: they are on two machines
 */
export function mixRefusal(
  one: EngineId,
  other: EngineId,
  { muon = false, apart = false }: { readonly muon?: boolean; readonly apart?: boolean } = {},
): { reason: string; remedy: string } | undefined {
  for (const field of ['engine', 'deviceKind', 'precision'] as const) {
    if (one[field] !== other[field]) return refusals[field];
  }
  const { engine, deviceKind } = one;
  const isAlike = (row: Alike) =>
    row.engine === engine &&
    row.deviceKind === deviceKind &&
    (row.units === 'all' || (row.units.includes(one.unit) && row.units.includes(other.unit)));
  if (one.unit === other.unit) {
    const isUnknown = unknownProcessor.some((id) => id.engine === engine && id.deviceKind === deviceKind);
    return muon && apart && isUnknown ? processorRefusal : undefined;
  }
  if (!alike.some(isAlike)) return refusals.unit;
  return muon ? muonRefusal : undefined;
}

/** `native avx512 (cpu, float32)`. */
export function engineText({ engine, deviceKind, unit, precision }: EngineId): string {
  return `${engine} ${unit} (${deviceKind}, ${precision})`;
}
