/** Opens a GPU. */
import { invariant, messageOf, UserError } from '../../base/errors.ts';
import { countedAdapters, wantedFeatures } from './adapters.ts';
import { Gpu } from './gpu.ts';

/**
 * @param device which of the counted adapters
 * @throws UserError if there is no GPU, or it does not start
 */
export async function openGpu(device = 0): Promise<Gpu> {
  const adapters = await countedAdapters();
  const chosen = adapters[device];
  invariant(chosen !== undefined, `there is no GPU ${device} of ${adapters.length}`);
  const { name, gpu } = chosen;
  try {
    // An adapter opens one device only.
    const adapter = await gpu.requestAdapter();
    if (adapter === null) throw new Error('it is gone');
    const { limits, features, info } = adapter;
    const opened = await adapter.requestDevice({
      requiredFeatures: wantedFeatures.filter((feature) => features.has(feature)),
      requiredLimits: {
        maxBufferSize: limits.maxBufferSize,
        maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
        maxStorageBuffersPerShaderStage: Math.min(10, limits.maxStorageBuffersPerShaderStage),
      },
    });
    return new Gpu(opened, info, name);
  } catch (error) {
    throw new UserError(
      `engine webgpu: the GPU ${name} did not start: ${messageOf(error)}; end other programs that use it, update its driver, or set engine.name to native`,
    );
  }
}
