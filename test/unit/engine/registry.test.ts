import { describe, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import {
  createEngine,
  ENGINE_TARGETS,
  fallbackWarning,
  findEngine,
  probeEngine,
  selectEngine,
} from '../../../src/engine/registry.ts';
import { DeviceUnavailableError } from '../../../src/engine/tfjs/deviceKinds.ts';
import { tryEngine } from '../../../src/engine/trial.ts';
import { testEngines } from '../../engines/testEngines.ts';

describe('selectEngine', () => {
  it('takes what is named, and the device that is named', () => {
    expect(selectEngine({ name: 'tfjs' })).toMatchObject({ name: 'tfjs', deviceKind: 'wasm' });
    expect(selectEngine({ name: 'tfjs', deviceKind: 'auto' })).toMatchObject({ name: 'tfjs', deviceKind: 'wasm' });
    expect(selectEngine({ name: 'tfjs', deviceKind: 'cpu' })).toMatchObject({ name: 'tfjs', deviceKind: 'cpu' });
  });

  it('takes native by itself, where it is built, and says why', () => {
    expect(selectEngine({ name: 'auto', deviceKind: 'auto', threads: 3 })).toMatchObject({
      name: 'native',
      threads: 3,
    });
    expect(selectEngine({ name: 'auto' }).reason).not.toBe('');
  });

  it('refuses the native engine on a GPU', () => {
    expect(() => selectEngine({ name: 'native', deviceKind: 'webgpu' })).toThrow(UserError);
  });

  it('takes tfjs when only a device is named, and says why', () => {
    const choice = selectEngine({ name: 'auto', deviceKind: 'cpu' });
    expect(choice).toMatchObject({ name: 'tfjs', deviceKind: 'cpu' });
    expect(choice.reason).toContain('cpu');
  });
});

describe('createEngine', () => {
  it('says what to install when a device is missing, and takes no other', async () => {
    const probes = await Promise.all(ENGINE_TARGETS.map(probeEngine));
    const missing = probes.find(({ name, available }) => name === 'tfjs' && !available);
    expect(missing, 'no machine has every TensorFlow.js backend').toBeDefined();
    const asked = createEngine({ name: 'tfjs', deviceKind: missing!.deviceKind });
    await expect(asked).rejects.toThrow(UserError);
    await expect(asked).rejects.toThrow(missing!.install);
  });

  it.each([
    ['the one of its place', { localIndex: 1 }, 1],
    ['the one of the first place', {}, 0],
    ['the one that is named, whatever its place', { localIndex: 5, device: 1 }, 1],
  ])('takes of two devices %s', async (_, options, device) => {
    expect((await createEngine({ name: 'twoDevices', ...options }, testEngines)).device).toBe(device);
  });

  it('shares a device that is the only one, and takes no other for it', async () => {
    const options = { name: 'toy', localIndex: 7 };
    expect((await createEngine(options, testEngines)).device).toBe(0);
    expect((await createEngine({ ...options, device: 0 }, testEngines)).device).toBe(0);
    const other = createEngine({ ...options, device: 1 }, testEngines);
    await expect(other).rejects.toThrow(
      /device 1 was asked for, but the engine toy has one .* set engine.device to auto/,
    );
  });

  it('starts the native engine with as many threads as asked for', async () => {
    const engine = await createEngine({ name: 'auto', threads: 2 });
    expect(engine.description).toMatch(/^native \(\w+, 2 threads\)$/);
    await engine.dispose();
  });
});

describe('probeEngine', () => {
  it.each([
    { name: 'native', deviceKind: 'cpu' },
    { name: 'tfjs', deviceKind: 'wasm' },
    { name: 'tfjs', deviceKind: 'cpu' },
  ] as const)('finds $name on $deviceKind, which is always there after a build', async (target) => {
    expect(await probeEngine(target)).toMatchObject({ ...target, available: true });
  });
});

describe('tryEngine', () => {
  it('sees a wrong product', async () => {
    const engine = await createEngine({ name: 'tfjs', deviceKind: 'cpu' });
    const right = await tryEngine(engine);
    expect(right.correct).toBe(true);
    const linearForward = engine.linearForward.bind(engine);
    engine.linearForward = (options) => {
      linearForward(options);
      engine.activationForward({ kind: 'relu', out: options.out, inp: options.out });
    };
    expect((await tryEngine(engine)).correct).toBe(false);
    await engine.dispose();
  });
});

it('a device that does not start although its packages are installed has another cure than to install them', () => {
  const cures = [true, false].map(
    (isInstalled) => new DeviceUnavailableError('webgpu', 'no GPU adapter', { isInstalled }),
  );
  expect(cures[0]?.message).toMatch(/no GPU adapter. To have it: a Vulkan, Metal or Direct3D 12 driver/);
  expect(cures[0]?.cure).not.toContain('npm install');
  expect(cures[1]?.cure).toMatch(/^npm install .*webgpu @tensorflow\/tfjs-backend-webgpu@/);
});

it('no engine at all is an answer to those who ask for one, and an error to those who start it', () => {
  const table = {
    fast: { ...testEngines['toy']!, missing: () => 'it is not compiled' },
    slow: { ...testEngines['toy']!, missing: () => 'its packages are not installed' },
  };
  const missing = 'no engine is available: it is not compiled; its packages are not installed';
  expect(findEngine({ name: 'auto' }, table)).toEqual({ missing });
  expect(() => selectEngine({ name: 'auto' }, table)).toThrow(missing);
});

it('an engine that replaces a missing one says so, and why', () => {
  const table = { absent: { ...testEngines['toy']!, missing: () => 'it is not compiled' }, toy: testEngines['toy']! };
  expect(selectEngine({ name: 'auto' }, table)).toMatchObject({
    name: 'toy',
    reason: 'it is not compiled',
    isFallback: true,
  });
  expect(fallbackWarning(selectEngine({ name: 'auto' }, table))).toMatch(
    /^using the engine toy \(.*\), many times slower: it is not compiled$/,
  );
  expect(fallbackWarning(selectEngine({ name: 'toy' }, table))).toBeUndefined();
  expect(selectEngine({ name: 'toy' }, table)).not.toHaveProperty('isFallback');
  expect(selectEngine({ name: 'auto' }, { toy: testEngines['toy']! })).not.toHaveProperty('isFallback');
});
