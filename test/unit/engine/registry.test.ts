import { describe, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { createEngine, probeEngines, selectEngine } from '../../../src/engine/registry.ts';

describe('selectEngine', () => {
  it('takes what is named, and the device that is named', () => {
    expect(selectEngine({ name: 'tfjs' })).toMatchObject({ name: 'tfjs', device: 'wasm' });
    expect(selectEngine({ name: 'tfjs', device: 'auto' })).toMatchObject({ name: 'tfjs', device: 'wasm' });
    expect(selectEngine({ name: 'tfjs', device: 'cpu' })).toMatchObject({ name: 'tfjs', device: 'cpu' });
  });

  it('takes tfjs when only a device is named, and says why', () => {
    const choice = selectEngine({ name: 'auto', device: 'cpu' });
    expect(choice).toMatchObject({ name: 'tfjs', device: 'cpu' });
    expect(choice.reason).toContain('cpu');
  });
});

describe('createEngine', () => {
  it('says what to install when a device is not there, and takes no other', async () => {
    const probes = await probeEngines();
    const missing = probes.find(({ name, available }) => name === 'tfjs' && !available);
    expect(missing, 'no machine has every TensorFlow.js backend').toBeDefined();
    const device = missing!.device as 'tensorflow' | 'webgpu';
    await expect(createEngine({ name: 'tfjs', device })).rejects.toThrow(UserError);
    await expect(createEngine({ name: 'tfjs', device })).rejects.toThrow(/npm install/);
  });
});

describe('probeEngines', () => {
  it('finds the backends that are always installed, and leaves none running', async () => {
    const probes = await probeEngines();
    for (const device of ['wasm', 'cpu']) {
      expect(probes.find((probe) => probe.device === device)).toMatchObject({ available: true });
    }
    for (const probe of probes) expect(probe.detail).not.toBe('');
  });
});
