/** The WebGPU engine in the table of engines. */
import { messageOf } from '../../base/errors.ts';
import { addOptionalDependencies } from '../../base/installation.ts';
import type { EngineEntry } from '../engineEntry.ts';
import { adapterText, allAdapters, cautionOf, countedAdapters } from './adapters.ts';
import { isDawnInstalled } from './dawn.ts';
import { mayHaveGpu, missingGpu } from './drivers.ts';

export const webgpu = {
  doc: 'a GPU, by WebGPU',
  deviceKinds: ['gpu'],
  defaultDeviceKind: 'gpu',
  precisions: ['float32', 'f16'],
  // Software drivers do not count: an engine that computes on the processor is faster.
  async presence() {
    const missing = (reason: string) => ({ missing: reason, isUsual: true });
    if (!isDawnInstalled() || !mayHaveGpu()) return missing('there is no GPU, or the package webgpu is not installed');
    try {
      const [first, ...others] = (await allAdapters()).filter(({ isSoftware }) => !isSoftware);
      if (first === undefined) return missing('there is no GPU');
      const more = others.length === 0 ? '' : ` and ${others.length} more`;
      return { found: `a GPU is available: ${first.name}${more}` };
    } catch (error) {
      return missing(messageOf(error));
    }
  },
  installHint: () => (isDawnInstalled() ? missingGpu().cure : addOptionalDependencies()),
  devices: async () => (await countedAdapters()).map(({ name }) => name),
  caution: async () => cautionOf(await countedAdapters()),
  details: async () => (await allAdapters()).map(adapterText),
  planDevice: async (device) => {
    const { planWebgpuEngine } = await import('./webgpuEngine.ts');
    return planWebgpuEngine((await countedAdapters())[device]!);
  },
  start: async ({ device }) => {
    const { createWebgpuEngine } = await import('./webgpuEngine.ts');
    return createWebgpuEngine({ device });
  },
} as const satisfies EngineEntry;
