import { expect, test } from 'vitest';
import { checkedAddon, loadNative } from '../../../src/engine/native/addon.ts';

const load = loadNative();

test.skipIf('error' in load)('a layer norm that is to give no gradient is refused, not written through null', () => {
  if ('error' in load) return;
  const { addon } = load;
  const engine = addon.createEngine(1, 'auto');
  const [row, one] = [new Float32Array(2), new Float32Array(1)];
  try {
    expect(() => addon.layerNormBackward(engine, 1, 2, false, null, null, null, row, row, row, one, one)).toThrow(
      'expected dinp, dweight or dbias',
    );
  } finally {
    addon.disposeEngine(engine);
  }
});

test.skipIf('error' in load)('an addon that was built before its interface changed is refused', () => {
  if ('error' in load) return;
  expect(checkedAddon(load.addon)).toEqual(load);
  expect(checkedAddon({ ...load.addon, interfaceVersion: 1 })).toEqual({
    error: expect.stringContaining('build it again'),
  });
});
