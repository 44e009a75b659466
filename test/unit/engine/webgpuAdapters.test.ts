/** What is known of GPUs without one: Dawn's list, who counts, and what each missing part of a machine is called. */
import { describe, expect, it, vi } from 'vitest';
import { adapterText, cautionOf, counted, type GpuAdapter, namesOf } from '../../../src/engine/webgpu/adapters.ts';
import { unloadable } from '../../../src/engine/webgpu/dawn.ts';
import {
  driverManifests,
  hideSoftwareDrivers,
  type LinuxGpuParts,
  mayHaveGpu,
  missingGpu,
} from '../../../src/engine/webgpu/drivers.ts';
import { webgpu } from '../../../src/engine/webgpu/entry.ts';
import { Gpu } from '../../../src/engine/webgpu/gpu.ts';
import { DeviceMemory } from '../../../src/engine/webgpu/memory.ts';

const adapter = (name: string, more: Partial<GpuAdapter> = {}): GpuAdapter => ({
  name,
  gpu: {} as GPU,
  info: { description: 'driver 1', subgroupMinSize: 32, subgroupMaxSize: 64 } as GPUAdapterInfo,
  features: new Set(['shader-f16', 'subgroups']) as unknown as GPUSupportedFeatures,
  limits: { maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 32 } as GPUSupportedLimits,
  isSoftware: false,
  count: 1,
  ...more,
});
const software = adapter('llvmpipe (LLVM 15.0.6, 256 bits)', { isSoftware: true });

describe('adapters', () => {
  it('are listed by Dawn in the message of an error', () => {
    const message = `no suitable backends found
Available adapters:
 * backend: 'vulkan', name: 'NVIDIA GeForce RTX 4090'
 * backend: 'vulkan', name: 'llvmpipe (LLVM 15.0.6, 256 bits)'`;
    expect(namesOf(message)).toEqual(['NVIDIA GeForce RTX 4090', 'llvmpipe (LLVM 15.0.6, 256 bits)']);
    expect(namesOf('no adapter found')).toEqual([]);
  });

  it('software drivers count only if there is no GPU, with a warning', () => {
    const [one, two] = [adapter('A'), adapter('B')];
    expect(counted([one, two, software])).toEqual([one, two]);
    expect(counted([software])).toEqual([software]);
    expect(cautionOf([software])).toMatch(/^llvmpipe .* is a software driver, .* for tests only/);
    expect(cautionOf([one, two])).toBeUndefined();
  });

  it('two of one name are one that can be used, with a warning', () => {
    expect(cautionOf([adapter('A', { count: 2 }), adapter('B')])).toMatch(
      /^2 GPUs are named A, and only the first of each name can be used/,
    );
  });

  it('each is a line with what it has and lacks', () => {
    expect(adapterText(adapter('A', { count: 2 }))).toBe(
      'A (one of 2), shader-f16, subgroups of 32 to 64, no timestamp-query, no matrix units, 0.13 GiB per binding, 4 GiB per buffer, driver 1',
    );
    const kind = { componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16 };
    const unitsOf = (subgroupMaxSize: number) => {
      const info = {
        subgroupMinSize: 32,
        subgroupMaxSize,
        subgroupMatrixConfigs: [
          { ...kind, K: 8 },
          { ...kind, K: 16 },
        ],
      };
      return adapterText(
        adapter('A', {
          info: info as unknown as GPUAdapterInfo,
          features: new Set(['chromium-experimental-subgroup-matrix']) as unknown as GPUSupportedFeatures,
        }),
      );
    };
    expect(unitsOf(32)).toContain(', matrix units of f16 16×16×16, ');
    // Nobody knows then how many invocations share a matrix.
    expect(unitsOf(64)).toContain(', no matrix units of a known kind, ');
    expect(adapterText(software)).toContain('256 bits) (software driver, for tests only)');
  });
});

it('auto takes a GPU or says in silence that there is none, and what is missing has a remedy', async () => {
  const presence = await webgpu.presence();
  if ('missing' in presence) expect(presence.isUsual).toBe(true);
  else expect(presence.found).toMatch(/^a GPU is available: ./);
  expect(webgpu.installHint()).not.toBe('');
});

describe('a GPU that is not found', () => {
  const machine: LinuxGpuParts = {
    nodes: ['renderD128'],
    hasLoader: true,
    drivers: ['radeon_icd.json', 'lvp_icd.json'],
    distribution: 'ubuntu debian',
  };
  const missing = (parts: Partial<LinuxGpuParts>) => missingGpu('linux', () => ({ ...machine, ...parts }));

  it.each([
    ['debian', 'sudo apt install libvulkan1'],
    ['ubuntu debian', 'sudo apt install libvulkan1'],
    ['fedora', 'sudo dnf install vulkan-loader'],
    ['rocky rhel centos fedora', 'sudo dnf install vulkan-loader'],
    ['centos rhel', 'sudo dnf install vulkan-loader'],
    ['arch', 'sudo pacman -S vulkan-icd-loader'],
    ['gentoo', 'install the Vulkan loader (libvulkan1 or vulkan-loader)'],
  ])('without the Vulkan loader on %s: the command that installs it', (distribution, command) => {
    const { reason, cure } = missing({ hasLoader: false, distribution });
    expect(reason).toBe('the Vulkan loader, libvulkan.so.1, is not installed');
    expect(cure).toContain(command);
  });

  it.each([
    ['no device', { nodes: [] }, /no GPU that its kernel knows/, /docker run --gpus all/],
    ['no driver', { drivers: [] }, /no Vulkan driver of a GPU/, /`sudo apt install mesa-vulkan-drivers`; for NVIDIA/],
    ['only software', { drivers: ['lvp_icd.json'] }, /no Vulkan driver of a GPU/, /mesa-vulkan-drivers/],
    ['everything', {}, /drivers: radeon_icd.json, lvp_icd.json; devices: renderD128/, /vulkaninfo --summary/],
  ])('with %s', (_, parts, reason, cure) => {
    expect(missing(parts).reason).toMatch(reason);
    expect(missing(parts).cure).toMatch(cure);
  });

  it('on other systems it is the driver', () => {
    expect(missingGpu('win32').cure).toBe('install the driver of your GPU');
    expect(mayHaveGpu('darwin')).toBe(true);
  });

  it('drivers that the environment names are the only ones', () => {
    expect(driverManifests({ VK_ICD_FILENAMES: '/a/lvp_icd.json:/b/nvidia_icd.json' })).toEqual([
      'lvp_icd.json',
      'nvidia_icd.json',
    ]);
  });
});

it.runIf(process.platform === 'linux')(
  'software drivers are hidden beside a GPU, unless the user has chosen the drivers',
  () => {
    const hidden = (env: Record<string, string>, isGpuThere: boolean) => {
      hideSoftwareDrivers(env, isGpuThere);
      return env['VK_LOADER_DRIVERS_DISABLE'];
    };
    expect(hidden({}, true)).toBe('lvp_*,vk_swiftshader*');
    expect(hidden({}, false)).toBeUndefined();
    expect(hidden({ VK_ICD_FILENAMES: '/a/lvp_icd.json' }, true)).toBeUndefined();
    expect(hidden({ VK_LOADER_DRIVERS_DISABLE: 'x' }, true)).toBe('x');
  },
);

describe('a package webgpu that does not load', () => {
  const linux = { platform: 'linux', arch: 'x64', glibc: '2.36' as string | null };
  it.each([
    [
      "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by dawn.node)",
      { ...linux, glibc: '2.31' },
      'needs glibc 2.34, and this system has 2.31',
    ],
    ['Error relocating dawn.node: symbol not found', { ...linux, glibc: null }, 'another C library, such as musl'],
    [
      "Cannot find module 'dist/linux-riscv64/dawn.node'",
      { ...linux, arch: 'riscv64' },
      'no program for linux riscv64',
    ],
    ['file too short', linux, 'does not load: file too short'],
  ])('%s', (message, system, reason) => {
    const error = unloadable(`${message}\nRequire stack`, system);
    expect(error.message).toMatch(/^engine webgpu is not available: /);
    expect(error.reason).toContain(reason);
    expect(error.cure).not.toBe('');
  });
});

it('a GPU without memory is reported with the sizes and the keys to lower', async () => {
  const device = {
    limits: { maxBufferSize: 2 ** 32 },
    createBuffer: () => ({}),
    pushErrorScope: () => undefined,
    popErrorScope: async () => ({ message: 'out of memory' }),
  } as unknown as GPUDevice;
  const reports: string[] = [];
  const memory = new DeviceMemory(device, (ask, report) => {
    void ask().then((found) => found && reports.push(report().message));
  });
  memory.alloc([1024], 'float32');
  memory.alloc([2 ** 20], 'float32');
  await vi.waitFor(() => expect(reports).toHaveLength(2));
  expect(reports[1]).toMatch(
    /^the GPU has no memory for a tensor of 4,194,304 bytes: this worker already uses 4,096 bytes\. Lower train\.microBatchSize/,
  );
  expect(() => memory.alloc([2 ** 31], 'float32')).toThrow(/its driver allows 4,294,967,296 in one buffer/);
});

it('nothing is asked of a device that is closed: a thread must not end while an answer is pending', async () => {
  const asked: string[] = [];
  const note = (question: string) => async () => {
    asked.push(question);
    return null;
  };
  const device = {
    features: new Set(),
    limits: { maxBufferSize: 2 ** 32, maxStorageBufferBindingSize: 2 ** 30 },
    lost: new Promise(() => undefined),
    queue: { onSubmittedWorkDone: note('onSubmittedWorkDone') },
    createBuffer: () => ({ destroy: () => void asked.push('destroy'), mapAsync: note('mapAsync') }),
    createBindGroupLayout: () => ({}),
    createPipelineLayout: () => ({}),
    createBindGroup: () => ({}),
    pushErrorScope: () => undefined,
    popErrorScope: note('popErrorScope'),
  } as unknown as GPUDevice;
  const gpu = new Gpu(device, {} as GPUAdapterInfo, 'a GPU');
  const tensor = gpu.memory.alloc([64], 'float32');
  const staging = gpu.memory.take(256);
  await gpu.commands.check();
  expect(asked.splice(0)).toEqual(['popErrorScope', 'popErrorScope']);
  gpu.commands.close();
  gpu.memory.close();
  expect(asked.splice(0)).toEqual(['destroy', 'destroy', 'destroy']);
  const closed = 'the GPU was closed before it had answered';
  await expect(gpu.transfers.read(tensor.buffer, 0, new Float32Array(64))).rejects.toThrow(closed);
  await expect(gpu.transfers.snapshot([tensor.buffer], [new Float32Array(64)])).rejects.toThrow(closed);
  await expect(gpu.commands.map(staging.gpu)).rejects.toThrow(closed);
  await expect(gpu.commands.finish()).rejects.toThrow(closed);
  expect(() => gpu.memory.alloc([32], 'float32')).toThrow('was used after its end');
  gpu.memory.discard(staging);
  await gpu.commands.settled();
  expect(asked).toEqual([]);
});
