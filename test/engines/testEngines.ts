/** The engines that tests may name: those of the product, and some that only tests have. */
import { systemClock } from '../../src/base/clock.ts';
import type { EngineEntry } from '../../src/engine/engineEntry.ts';
import { engines } from '../../src/engine/engines.ts';
import { createNativeEngine } from '../../src/engine/native/nativeEngine.ts';
import { timedEngine } from './timedEngine.ts';
import { toy } from './toyEngine.ts';

/** Kernels take a tenth of a millisecond each, and every copy one. */
const timed: EngineEntry = {
  ...engines.native,
  start: async () =>
    timedEngine(createNativeEngine({ threads: 1 }), systemClock, { kernelMs: () => 0.1, copyMs: () => 1 }),
};

/** A machine with two devices. */
const twoDevices: EngineEntry = { ...toy, devices: async () => ['left', 'right'] };

export const testEngines = {
  ...engines,
  timed,
  toy,
  twoDevices,
} satisfies Readonly<Record<string, EngineEntry>>;
