/** An engine that is only its kernels in plain loops, as a new one may begin: this file, and a line in a table. */
import type { EngineEntry } from '../../src/engine/engineEntry.ts';
import { Float64Engine } from '../parity/model/float64Engine.ts';

export const toy: EngineEntry = {
  doc: 'plain loops in float64, for tests',
  deviceKinds: ['none'],
  defaultDeviceKind: 'none',
  precisions: ['float32'],
  presence: () => ({ found: 'the toy engine is available' }),
  installHint: () => 'it is available',
  start: async ({ device }) => new Float64Engine({ device }),
};
