import { describe, expect, it } from 'vitest';
import { renderReport } from '../../../src/cli/doctor.ts';
import { machineFacts } from '../../../src/cli/machineFacts.ts';

describe('machineFacts', () => {
  it('tells what can be known of any machine', async () => {
    const { cores, memoryBytes, memoryFreeBytes, versions } = await machineFacts();
    expect(cores).toBeGreaterThan(0);
    expect(memoryBytes).toBeGreaterThanOrEqual(memoryFreeBytes);
    expect(memoryFreeBytes).toBeGreaterThan(0);
    expect(versions.node).toBe(process.versions.node);
    expect(versions.tfjs).toMatch(/^4\./);
    expect(versions.zeromq).toMatch(/libzmq 4\./);
  });
});

describe('renderReport', () => {
  const machine = {
    platform: 'linux x64',
    cpu: 'A processor',
    cores: 1,
    isa: ['avx2', 'scalar'],
    memoryBytes: 8 * 2 ** 30,
    memoryFreeBytes: 2 ** 30,
    versions: { lockstep: '0.1.0', node: '20.19.0', zeromq: '6.8.0 (libzmq 4.3.5)', tfjs: '4.22.0' },
  };

  it('lists what works and, for what does not, why and what to do', () => {
    const text = renderReport({
      machine,
      engines: [
        {
          name: 'webgpu',
          deviceKind: 'gpu',
          available: false,
          detail: 'no GPU was found',
          install: 'install a driver',
          devices: ['one, with what it has', 'another'],
        },
        { name: 'tfjs', deviceKind: 'wasm', available: true, detail: 'tfjs (wasm: 1 thread)', install: '' },
      ],
      auto: { name: 'tfjs', deviceKind: 'wasm', threads: 0, reason: 'nothing else is available' },
    });
    expect(text).toContain('A processor: 1 core, linux x64, avx2, scalar');
    expect(text).toContain('memory 8.0 GiB, 1.0 GiB free');
    expect(text).toMatch(
      /missing {2}webgpu gpu +no GPU was found\n +to get it: install a driver\n +device 0: one, with what it has\n +device 1: another\n/,
    );
    expect(text).toMatch(/ok {7}tfjs wasm +tfjs \(wasm: 1 thread\)/);
    expect(text).toContain('auto selects tfjs (wasm): nothing else is available');
    expect(text).toContain('bf16 works here but is not accelerated');
  });

  it('says that no engine is available, and what to do', () => {
    const report = { machine: { ...machine, isa: [] }, engines: [], auto: { missing: 'no engine is available: x' } };
    const text = renderReport(report);
    expect(text).toMatch(/\nno engine is available: x\n$/);
    expect(text).toContain('bf16 needs the native engine');
  });
});
