/** The device of `launch bench scaling --device simulated`: how its workers are started. */
import { z } from 'zod';
import type { WorkerEntry } from '../worker/spawn.ts';

/** What its compute thread is told. */
export const simulatedDevice = z.object({
  /** Milliseconds that forward and backward of one sample take. */
  computeMs: z.number().min(0),
});
export type SimulatedDevice = z.infer<typeof simulatedDevice>;

/** Of forward and backward together: backward has twice the products of forward. */
export const backwardShare = 2 / 3;

export function simulatedWorkers(device: SimulatedDevice): WorkerEntry {
  return { url: new URL('./simulatedWorker.js', import.meta.url), arguments: [JSON.stringify(device)] };
}
