/** Opens a GPU by Dawn, the WebGPU implementation of the npm package `webgpu`, which is loaded only here. */
import { messageOf, UserError } from '../../base/errors.ts';
import { EngineUnavailableError } from '../engineUnavailable.ts';
import { Gpu } from './gpu.ts';

type Dawn = typeof import('webgpu');

/** Dawn keeps what it created only while this is referenced. */
let instance: GPU | undefined;

async function loadInstance(): Promise<GPU> {
  if (instance !== undefined) return instance;
  let dawn: Dawn;
  try {
    dawn = await import('webgpu');
  } catch (error) {
    throw new EngineUnavailableError('engine webgpu', messageOf(error), 'npm install webgpu');
  }
  // Timestamps would be rounded to 0.1 ms.
  instance = dawn.create(['enable-dawn-features=allow_unsafe_apis', 'disable-dawn-features=timestamp_quantization']);
  return instance;
}

/** What kernels use where the device has it. */
const wantedFeatures = ['shader-f16', 'subgroups', 'timestamp-query'] as const;

/** Opens the GPU. @throws UserError if there is none */
export async function openGpu(): Promise<Gpu> {
  const gpu = await loadInstance();
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter === null) {
    throw new EngineUnavailableError('engine webgpu', 'no GPU was found', 'install the driver of your GPU');
  }
  const { limits, features, info } = adapter;
  try {
    const device = await adapter.requestDevice({
      requiredFeatures: wantedFeatures.filter((name) => features.has(name)),
      requiredLimits: {
        maxBufferSize: limits.maxBufferSize,
        maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
        maxStorageBuffersPerShaderStage: Math.min(10, limits.maxStorageBuffersPerShaderStage),
        maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
        maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
        maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
      },
    });
    return new Gpu(device, info);
  } catch (error) {
    throw new UserError(`engine webgpu: the GPU ${info.description || info.device} did not start: ${messageOf(error)}`);
  }
}
