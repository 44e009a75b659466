/** Which devices are software, and want programs of their own. */
import type { Gpu } from './gpu.ts';

/** The lanes of a subgroup if the device is a software driver whose subgroups have one size; otherwise 0. */
export function softwareLanes({ device, info }: Gpu): number {
  const { isFallbackAdapter, subgroupMinSize, subgroupMaxSize } = info;
  const isKnown = isFallbackAdapter && device.features.has('subgroups') && subgroupMinSize === subgroupMaxSize;
  return isKnown ? (subgroupMaxSize ?? 0) : 0;
}
