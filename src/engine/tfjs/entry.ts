/** The tfjs engine in the table of engines. */
import type { EngineEntry } from '../engineEntry.ts';
import { TFJS_DEVICES, TFJS_INSTALL_HINTS, type TfjsDevice } from './devices.ts';
import { createTfjsEngine } from './tfjsEngine.ts';

export const tfjs = {
  doc: 'TensorFlow.js',
  devices: TFJS_DEVICES,
  defaultDevice: 'wasm',
  precisions: ['float32'],
  missing: () => undefined,
  installHint: (device) => TFJS_INSTALL_HINTS[device as TfjsDevice],
  start: ({ device }) => createTfjsEngine({ device: device as TfjsDevice }),
} as const satisfies EngineEntry;
