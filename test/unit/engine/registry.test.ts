import { describe, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { createEngine, ENGINE_TARGETS, probeEngine, selectEngine } from '../../../src/engine/registry.ts';
import { tryEngine } from '../../../src/engine/trial.ts';

describe('selectEngine', () => {
  it('takes what is named, and the device that is named', () => {
    expect(selectEngine({ name: 'tfjs' })).toMatchObject({ name: 'tfjs', device: 'wasm' });
    expect(selectEngine({ name: 'tfjs', device: 'auto' })).toMatchObject({ name: 'tfjs', device: 'wasm' });
    expect(selectEngine({ name: 'tfjs', device: 'cpu' })).toMatchObject({ name: 'tfjs', device: 'cpu' });
  });

  it('takes native by itself, where it is built, and says why', () => {
    expect(selectEngine({ name: 'auto', device: 'auto', threads: 3 })).toMatchObject({ name: 'native', threads: 3 });
    expect(selectEngine({ name: 'auto' }).reason).not.toBe('');
  });

  it('refuses the native engine on a GPU', () => {
    expect(() => selectEngine({ name: 'native', device: 'webgpu' })).toThrow(UserError);
  });

  it('takes tfjs when only a device is named, and says why', () => {
    const choice = selectEngine({ name: 'auto', device: 'cpu' });
    expect(choice).toMatchObject({ name: 'tfjs', device: 'cpu' });
    expect(choice.reason).toContain('cpu');
  });
});

describe('createEngine', () => {
  it('says what to install when a device is not there, and takes no other', async () => {
    const probes = await Promise.all(ENGINE_TARGETS.map(probeEngine));
    const missing = probes.find(({ name, available }) => name === 'tfjs' && !available);
    expect(missing, 'no machine has every TensorFlow.js backend').toBeDefined();
    const asked = createEngine({ name: 'tfjs', device: missing!.device });
    await expect(asked).rejects.toThrow(UserError);
    await expect(asked).rejects.toThrow(missing!.install);
  });

  it('starts the native engine with as many threads as asked for', async () => {
    const engine = await createEngine({ name: 'auto', threads: 2 });
    expect(engine.description).toMatch(/^native \(\w+, 2 threads\)$/);
    await engine.dispose();
  });
});

describe('probeEngine', () => {
  it.each([
    { name: 'native', device: 'cpu' },
    { name: 'tfjs', device: 'wasm' },
    { name: 'tfjs', device: 'cpu' },
  ] as const)('finds $name on $device, which is always there after a build', async (target) => {
    expect(await probeEngine(target)).toMatchObject({ ...target, available: true });
  });
});

describe('tryEngine', () => {
  it('sees a wrong product', async () => {
    const engine = await createEngine({ name: 'tfjs', device: 'cpu' });
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
