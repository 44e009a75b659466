/**
 * Whether the tests can run on WebGPU here. It needs the optional packages and a driver, which most machines that run the tests
 * do not have; where LOCKSTEP_REQUIRE_WEBGPU=1 says that they are there (scripts/ciWebgpu.sh), their absence fails.
 */
import { messageOf } from '../../src/base/errors.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { createTfjsEngine } from '../../src/engine/tfjs/tfjsEngine.ts';
import { isNightly } from '../skippedTests.ts';

/** Whether TensorFlow.js' backend was installed: at night. */
export const isTfjsRequired = process.env['LOCKSTEP_REQUIRE_WEBGPU'] === '1' && isNightly;

/** TensorFlow.js on WebGPU. */
export async function createTfjsWebgpu(): Promise<Engine> {
  return createTfjsEngine({ deviceKind: 'webgpu' });
}

/**
 * Why an engine on WebGPU does not start; undefined if it does.
 * @param isRequired then its absence is thrown
 */
export async function whyUnavailable(
  createEngine: () => Promise<Engine>,
  isRequired = process.env['LOCKSTEP_REQUIRE_WEBGPU'] === '1',
): Promise<string | undefined> {
  try {
    await (await createEngine()).dispose();
    return undefined;
  } catch (error) {
    if (isRequired) throw error;
    return messageOf(error);
  }
}
