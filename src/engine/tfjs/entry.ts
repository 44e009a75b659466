/** The tfjs engine in the table of engines. */
import { createRequire } from 'node:module';
import type { EngineEntry } from '../engineEntry.ts';
import { installHint, TFJS_DEVICE_KINDS, type TfjsDeviceKind } from './deviceKinds.ts';

export const tfjs = {
  doc: 'TensorFlow.js',
  deviceKinds: TFJS_DEVICE_KINDS,
  defaultDeviceKind: 'wasm',
  precisions: ['float32'],
  presence() {
    try {
      createRequire(import.meta.url).resolve('@tensorflow/tfjs-core');
      return { found: 'the tfjs engine is available' };
    } catch {
      return { missing: `the packages of TensorFlow.js are not installed; to have them: ${installHint('wasm')}` };
    }
  },
  installHint: (deviceKind) => installHint(deviceKind as TfjsDeviceKind),
  start: async ({ deviceKind }) => {
    const { createTfjsEngine } = await import('./tfjsEngine.ts');
    return createTfjsEngine({ deviceKind: deviceKind as TfjsDeviceKind });
  },
} as const satisfies EngineEntry;
