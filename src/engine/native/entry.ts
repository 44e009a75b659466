/** The native engine in the table of engines. */
import { compileNative } from '../../base/installation.ts';
import type { InstructionSet } from '../../base/instructionSets.ts';
import type { EngineEntry } from '../engineEntry.ts';
import { loadNative } from './addon.ts';
import { PlanningEngine } from './planningEngine.ts';

export const native = {
  doc: 'the C++ addon',
  deviceKinds: ['cpu'],
  defaultDeviceKind: 'cpu',
  precisions: ['float32', 'bf16'],
  missing() {
    const load = loadNative();
    return 'addon' in load ? undefined : load.error;
  },
  installHint: () => `install python3, make and g++, then run \`${compileNative()}\``,
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
