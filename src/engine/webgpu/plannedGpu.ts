/**
 * A GPU that computes nothing: it takes the calls of the engine, so that the engine's own accounts say what memory a step takes. Answers that the host
 * would wait for never come.
 */
import { Gpu } from './gpu.ts';

/** What of a device decides how much memory its steps take. */
export interface PlannedDevice {
  readonly info: GPUAdapterInfo;
  readonly features: GPUSupportedFeatures;
  readonly limits: GPUSupportedLimits;
}

const never = new Promise<never>(() => undefined);
const nothing = (): undefined => undefined;
const object = (): object => ({});

/** @throws UserError when it is given a tensor that is too large for one buffer of the device */
export function plannedGpu({ info, features, limits }: PlannedDevice): Gpu {
  const pass = { setPipeline: nothing, setBindGroup: nothing, dispatchWorkgroups: nothing, end: nothing };
  const encoder = {
    beginComputePass: () => pass,
    copyBufferToBuffer: nothing,
    clearBuffer: nothing,
    finish: object,
  };
  const device = {
    features,
    limits,
    lost: never,
    queue: { writeBuffer: nothing, submit: nothing, onSubmittedWorkDone: () => never },
    createBuffer: ({ usage }: GPUBufferDescriptor) => ({ usage, destroy: nothing, mapAsync: () => never }),
    createBindGroupLayout: object,
    createPipelineLayout: object,
    createBindGroup: object,
    createShaderModule: object,
    createComputePipeline: object,
    createCommandEncoder: () => encoder,
    pushErrorScope: nothing,
    popErrorScope: async () => null,
    destroy: nothing,
  };
  return new Gpu(device as unknown as GPUDevice, info, 'a planned GPU');
}
