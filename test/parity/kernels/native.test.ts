import { expect, test } from 'vitest';
import { loadNative } from '../../../src/engine/native/loadNative.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { kernelSuite } from './kernelSuite.ts';

const load = loadNative();
const sets = 'addon' in load ? load.addon.instructionSets() : [];

test('the addon is built and has at least the kernels that run anywhere', () => {
  expect('error' in load ? load.error : undefined).toBeUndefined();
  expect(sets).toContain('scalar');
});

for (const isa of sets) {
  for (const threads of [1, 3]) {
    kernelSuite(`native ${isa}, ${threads} threads`, async () => createNativeEngine({ isa, threads }), {
      bfloat16: true,
    });
  }
}
