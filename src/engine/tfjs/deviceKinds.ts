/** What TensorFlow.js can run on, by name. Without its types: programs that import the library need not have them. */
import { UserError } from '../../base/errors.ts';

/** A backend of TensorFlow.js. */
export type TfjsDeviceKind = 'tensorflow' | 'webgpu' | 'wasm' | 'cpu';

/** In the order in which they are listed to people: fastest first. */
export const TFJS_DEVICE_KINDS: readonly TfjsDeviceKind[] = ['tensorflow', 'webgpu', 'wasm', 'cpu'];

/** What to do to have a kind of device, for messages. */
export const TFJS_INSTALL_HINTS = {
  tensorflow:
    'npm install @tensorflow/tfjs-node-gpu@4.22.0 (NVIDIA, CUDA 11.2) or @tensorflow/tfjs-node@4.22.0 (CPU); Node 22 or older',
  webgpu:
    'npm install webgpu @tensorflow/tfjs-backend-webgpu@4.22.0, and a Vulkan, Metal or Direct3D 12 driver for the GPU',
  wasm: 'npm install @tensorflow/tfjs-backend-wasm@4.22.0',
  cpu: 'npm install @tensorflow/tfjs-backend-cpu@4.22.0',
} as const satisfies Record<TfjsDeviceKind, string>;

/** A kind of device was asked for that this machine does not have. */
export class DeviceUnavailableError extends UserError {
  readonly reason: string;

  constructor(deviceKind: TfjsDeviceKind, reason: string) {
    super(`engine tfjs: ${deviceKind} is not available: ${reason}. To have it: ${TFJS_INSTALL_HINTS[deviceKind]}`);
    this.reason = reason;
  }
}
