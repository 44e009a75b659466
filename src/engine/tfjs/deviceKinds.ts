/** What TensorFlow.js can run on, by name. Without its types: programs that import the library need not have them. */
import { addPackages } from '../../base/installation.ts';
import { EngineUnavailableError } from '../engineUnavailable.ts';

/** A backend of TensorFlow.js that users can choose. */
export type TfjsDeviceKind = 'tensorflow' | 'wasm' | 'cpu';

/** Its backend for GPUs too, to which the webgpu engine is compared. */
export type TfjsBackendName = TfjsDeviceKind | 'webgpu';

/** In the order in which they are listed to people: fastest first. */
export const TFJS_DEVICE_KINDS: readonly TfjsDeviceKind[] = ['tensorflow', 'wasm', 'cpu'];

/** Packages that are installed beside this one and are not part of it, as npm names them. */
const packages = {
  tensorflow: ['@tensorflow/tfjs-node@4.22.0'],
  webgpu: ['webgpu', '@tensorflow/tfjs-backend-webgpu@4.22.0'],
  wasm: ['@tensorflow/tfjs-core@4.22.0', '@tensorflow/tfjs-backend-wasm@4.22.0'],
  cpu: ['@tensorflow/tfjs-core@4.22.0', '@tensorflow/tfjs-backend-cpu@4.22.0'],
} as const satisfies Record<TfjsBackendName, readonly string[]>;

const needs = {
  tensorflow:
    ' (CPU), or @tensorflow/tfjs-node-gpu@4.22.0 in its place (NVIDIA, CUDA 11.2); Node 22 or older. On any Node.js: scripts/tfjsNode.sh',
  webgpu: ', and a Vulkan, Metal or Direct3D 12 driver for the GPU',
  wasm: '',
  cpu: '',
} as const satisfies Record<TfjsBackendName, string>;

/** What to do to have a kind of device whose packages are missing, for messages. */
export function installHint(deviceKind: TfjsBackendName): string {
  return addPackages(packages[deviceKind]) + needs[deviceKind];
}

/** The remedy for a kind of device whose packages are installed, but which does not start. */
const startHints = {
  tensorflow: 'Node 22 or older, and for tfjs-node-gpu an NVIDIA driver with CUDA 11.2 and cuDNN 8.1',
  webgpu:
    "a Vulkan, Metal or Direct3D 12 driver for the GPU; on Linux `vulkaninfo --summary` (package vulkan-tools) lists what a driver finds, in a container the GPU and its driver's files must be passed on",
  wasm: 'a processor and a Node.js that run WebAssembly with SIMD',
  cpu: 'nothing but Node.js: what stopped it is a bug',
} as const satisfies Record<TfjsBackendName, string>;

/** A kind of device was asked for that this machine does not have. */
export class DeviceUnavailableError extends EngineUnavailableError {
  constructor(deviceKind: TfjsBackendName, reason: string, { isInstalled }: { isInstalled: boolean }) {
    super(`engine tfjs: ${deviceKind}`, reason, isInstalled ? startHints[deviceKind] : installHint(deviceKind));
  }
}
