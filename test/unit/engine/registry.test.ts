import { describe, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import type { EngineEntry, Presence } from '../../../src/engine/engineEntry.ts';
import {
  createEngine,
  devicesOf,
  ENGINE_TARGETS,
  engineWarning,
  findEngine,
  probeEngine,
  selectEngine,
} from '../../../src/engine/registry.ts';
import { DeviceUnavailableError } from '../../../src/engine/tfjs/deviceKinds.ts';
import { tryEngine } from '../../../src/engine/trial.ts';
import { testEngines } from '../../engines/testEngines.ts';

describe('selectEngine', () => {
  it('takes what is named, and the device that is named', async () => {
    expect(await selectEngine({ name: 'tfjs' })).toMatchObject({ name: 'tfjs', deviceKind: 'wasm' });
    expect(await selectEngine({ name: 'tfjs', deviceKind: 'auto' })).toMatchObject({
      name: 'tfjs',
      deviceKind: 'wasm',
    });
    expect(await selectEngine({ name: 'tfjs', deviceKind: 'cpu' })).toMatchObject({ name: 'tfjs', deviceKind: 'cpu' });
  });

  it('takes native by itself, where it is built and there is no GPU, and says why', async () => {
    const { native, tfjs } = testEngines;
    const chosen = await selectEngine({ name: 'auto', deviceKind: 'auto', threads: 3 }, { native, tfjs });
    expect(chosen).toMatchObject({ name: 'native', threads: 3, reason: 'the native engine is available' });
  });

  it('refuses the native engine on a GPU', async () => {
    await expect(selectEngine({ name: 'native', deviceKind: 'gpu' })).rejects.toThrow(UserError);
  });

  it('takes tfjs when only a device is named, and says why', async () => {
    const choice = await selectEngine({ name: 'auto', deviceKind: 'cpu' });
    expect(choice).toMatchObject({ name: 'tfjs', deviceKind: 'cpu' });
    expect(choice.reason).toContain('cpu');
  });

  describe('auto with a GPU in the table', () => {
    const gpuOf = (presence: Presence): EngineEntry => ({ ...testEngines.twoDevices, presence: async () => presence });
    const tableOf = (presence: Presence) => ({ gpu: gpuOf(presence), toy: testEngines.toy });

    it('takes it where it is present, and says which', async () => {
      const chosen = await selectEngine({ name: 'auto' }, tableOf({ found: 'a GPU is available: A' }));
      expect(chosen).toMatchObject({ name: 'gpu', reason: 'a GPU is available: A' });
      expect(chosen.isFallback).toBeUndefined();
    });

    it('takes the next without a warning where there is usually none', async () => {
      const table = tableOf({ missing: 'there is no GPU', isUsual: true });
      const chosen = await selectEngine({ name: 'auto' }, table);
      expect(chosen).toMatchObject({ name: 'toy', reason: 'the toy engine is available' });
      expect(await engineWarning(chosen, table)).toBeUndefined();
    });

    it('takes an engine that has the precision', async () => {
      const gpu = gpuOf({ found: 'a GPU is available: A' });
      const table = { gpu, toy: { ...testEngines.toy, precisions: ['float32', 'bf16'] as const } };
      expect(await selectEngine({ name: 'auto', precision: 'bf16' }, table)).toMatchObject({ name: 'toy' });
      const absent = {
        ...gpuOf({ missing: 'there is no GPU', isUsual: true }),
        precisions: ['float32', 'f16'] as const,
      };
      await expect(selectEngine({ name: 'auto', precision: 'f16' }, { gpu: absent })).rejects.toThrow(
        'no engine with precision f16 is available: there is no GPU; set engine.precision to float32 to use another',
      );
    });
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
    ['the first again for the third worker', { localIndex: 2 }, 0],
  ])('takes of two devices %s', async (_, options, device) => {
    expect((await createEngine({ name: 'twoDevices', ...options }, testEngines)).device).toBe(device);
  });

  it('lists the devices if it has no such index', async () => {
    await expect(createEngine({ name: 'twoDevices', device: 5 }, testEngines)).rejects.toThrow(
      'device 5 was requested, but the engine twoDevices finds 2 here (0: left, 1: right)',
    );
    expect(await devicesOf({ name: 'twoDevices', deviceKind: 'none' }, testEngines)).toEqual(['left', 'right']);
    expect(await devicesOf({ name: 'toy', deviceKind: 'none' }, testEngines)).toBeUndefined();
  });

  it('shares a device that is the only one, and takes no other for it', async () => {
    const options = { name: 'toy', localIndex: 7 };
    expect((await createEngine(options, testEngines)).device).toBe(0);
    expect((await createEngine({ ...options, device: 0 }, testEngines)).device).toBe(0);
    const other = createEngine({ ...options, device: 1 }, testEngines);
    await expect(other).rejects.toThrow(
      /device 1 was requested, but the engine toy has one .* set engine.device to auto/,
    );
  });

  it('starts the native engine with as many threads as asked for', async () => {
    const engine = await createEngine({ name: 'native', threads: 2 });
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
  expect(cures[0]?.message).toMatch(/no GPU adapter. To get it: a Vulkan, Metal or Direct3D 12 driver/);
  expect(cures[0]?.cure).not.toContain('npm install');
  expect(cures[1]?.cure).toMatch(/^npm install .*webgpu @tensorflow\/tfjs-backend-webgpu@/);
});

const absent = (reason: string): EngineEntry => ({ ...testEngines.toy, presence: () => ({ missing: reason }) });

it('no engine at all is an answer to those who ask for one, and an error to those who start it', async () => {
  const table = { fast: absent('it is not compiled'), slow: absent('its packages are not installed') };
  const missing = 'no engine is available: it is not compiled; its packages are not installed';
  expect(await findEngine({ name: 'auto' }, table)).toEqual({ missing });
  await expect(selectEngine({ name: 'auto' }, table)).rejects.toThrow(missing);
});

it('an engine that replaces a missing one says so, and why', async () => {
  const table = { absent: absent('it is not compiled'), toy: testEngines.toy };
  const chosen = await selectEngine({ name: 'auto' }, table);
  expect(chosen).toMatchObject({ name: 'toy', reason: 'it is not compiled', isFallback: true });
  expect(await engineWarning(chosen, table)).toMatch(
    /^using the engine toy \(.*\), many times slower: it is not compiled$/,
  );
  const named = await selectEngine({ name: 'toy' }, table);
  expect(await engineWarning(named, table)).toBeUndefined();
  expect(named).not.toHaveProperty('isFallback');
  expect(await selectEngine({ name: 'auto' }, { toy: testEngines.toy })).not.toHaveProperty('isFallback');
});

it('what people should know of the devices of an engine is its warning', async () => {
  const table = { toy: { ...testEngines.toy, caution: async () => 'it is slow' } };
  expect(await engineWarning(await selectEngine({ name: 'toy' }, table), table)).toBe('it is slow');
});
