/**
 * Model FLOP utilisation: a step's floating-point operations, divided by what the machines could do in its time. Operations
 * that are computed twice (recomputed activations) count once. Pure.
 */
import type { ComputeLimit } from '../comm/messageFields.ts';

interface HostMember {
  readonly host: string;
  readonly prepared?: { readonly limit?: ComputeLimit | undefined } | undefined;
}

/**
 * Floating-point operations per second that these workers' machines can do: on each host, the limit of one thread times the number of
 * its workers' threads, but at most its number of cores.
 * @returns undefined if a worker has not measured it
 */
export function limitOf(members: readonly HostMember[]): number | undefined {
  const hosts = new Map<string, { threads: number; cores: number; threadFlops: number }>();
  for (const { host, prepared } of members) {
    const limit = prepared?.limit;
    if (limit === undefined) return undefined;
    const so = hosts.get(host) ?? { threads: 0, cores: 0, threadFlops: 0 };
    hosts.set(host, {
      threads: so.threads + limit.threads,
      cores: Math.max(so.cores, limit.cores),
      // A worker that measured while others computed has seen less than the maximum.
      threadFlops: Math.max(so.threadFlops, limit.threadFlops),
    });
  }
  const perHost = [...hosts.values()].map(({ threads, cores, threadFlops }) => threadFlops * Math.min(threads, cores));
  return perHost.length === 0 ? undefined : perHost.reduce((sum, flops) => sum + flops, 0);
}

/** @param peakTflops `train.peakTflops`; 0: the members' own measurement. @returns 0 to 1, or undefined if unknown or nothing is multiplied */
export function utilisation(
  stepFlops: number | undefined,
  seconds: number,
  peakTflops: number,
  members: readonly HostMember[],
): number | undefined {
  const limit = peakTflops > 0 ? peakTflops * 1e12 : limitOf(members);
  if (!stepFlops || limit === undefined || !(seconds > 0)) return undefined;
  return stepFlops / seconds / limit;
}
