/** The device of `launch bench scaling --device simulated`, and how its workers are started. */
import { z } from 'zod';
import type { WorkerEntry } from '../worker/spawn.ts';

/** The data that its compute thread gets. */
export const simulatedDevice = z.object({
  /** Duration of forward and backward of one sample, in milliseconds. */
  computeMs: z.number().min(0),
});
export type SimulatedDevice = z.infer<typeof simulatedDevice>;

/** Forward's share of both: backward has twice the products of forward. */
export const backwardShare = 2 / 3;

export function simulatedWorkers(device: SimulatedDevice): WorkerEntry {
  return { url: new URL('./simulatedWorker.js', import.meta.url), arguments: [JSON.stringify(device)] };
}
