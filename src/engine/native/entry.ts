/** The native engine in the table of engines. */
import type { InstructionSet } from '../../base/instructionSets.ts';
import type { EngineEntry } from '../engineEntry.ts';
import { loadNative, unavailable } from './loadNative.ts';
import { PlanningEngine } from './planningEngine.ts';

export const native = {
  doc: 'the C++ addon',
  deviceKinds: ['cpu'],
  defaultDeviceKind: 'cpu',
  precisions: ['float32', 'bf16'],
  presence() {
    const load = loadNative();
    return 'addon' in load ? { found: 'the native engine is available' } : { missing: unavailable(load).message };
  },
  installHint() {
    const load = loadNative();
    return 'addon' in load ? '' : load.cure;
  },
  start: async ({ threads, unit }) => {
    const { createNativeEngine } = await import('./nativeEngine.ts');
    return createNativeEngine({ threads, isa: (unit ?? 'auto') as InstructionSet | 'auto' });
  },
  units() {
    const load = loadNative();
    return 'addon' in load ? load.addon.instructionSets() : [];
  },
  plan: () => new PlanningEngine(),
} as const satisfies EngineEntry;
