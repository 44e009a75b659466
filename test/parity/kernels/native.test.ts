import { expect, test } from 'vitest';
import { loadNative } from '../../../src/engine/native/loadNative.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { isNightly } from '../../skippedTests.ts';
import { kernelSuite } from './kernelSuite.ts';

const load = loadNative();
const sets = 'addon' in load ? load.addon.instructionSets() : [];

test('the addon is built and has at least the kernels that run anywhere', () => {
  expect('error' in load ? load.error : undefined).toBeUndefined();
  expect(sets).toContain('scalar');
});

for (const [index, isa] of sets.entries()) {
  // The best set is the first. With one thread, the others add little: no bit depends on the number of threads (precision.test.ts).
  for (const threads of index === 0 || isNightly ? [1, 3] : [3]) {
    kernelSuite(`native ${isa}, ${threads} threads`, async () => createNativeEngine({ isa, threads }), {
      bfloat16: true,
    });
  }
}
