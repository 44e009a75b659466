/**
 * Whether the tests can run on WebGPU here. It needs the optional packages and a driver, which most machines that run the tests
 * do not have; where LOCKSTEP_REQUIRE_WEBGPU=1 says that they are there (scripts/ciWebgpu.sh), their absence fails.
 */
import { messageOf } from '../../src/base/errors.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { createTfjsEngine } from '../../src/engine/tfjs/tfjsEngine.ts';

/** TensorFlow.js on WebGPU. */
export async function createTfjsWebgpu(): Promise<Engine> {
  return createTfjsEngine({ deviceKind: 'webgpu' });
}

/** Why an engine on WebGPU does not start; undefined if it does. */
export async function whyUnavailable(createEngine: () => Promise<Engine>): Promise<string | undefined> {
  try {
    await (await createEngine()).dispose();
    return undefined;
  } catch (error) {
    if (process.env['LOCKSTEP_REQUIRE_WEBGPU'] === '1') throw error;
    return messageOf(error);
  }
}
