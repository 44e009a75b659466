/**
 * The suite on a GPU. It needs the optional packages and a driver, which most machines that run the tests do not have; where
 * LOCKSTEP_REQUIRE_WEBGPU=1 says that they are there (scripts/ciWebgpu.sh), their absence fails.
 */
import { messageOf } from '../../../src/base/errors.ts';
import { createTfjsEngine } from '../../../src/engine/tfjs/tfjsEngine.ts';
import { kernelSuite } from './kernelSuite.ts';

async function whyUnavailable(): Promise<string | undefined> {
  try {
    await (await createTfjsEngine({ device: 'webgpu' })).dispose();
    return undefined;
  } catch (error) {
    if (process.env['LOCKSTEP_REQUIRE_WEBGPU'] === '1') throw error;
    return messageOf(error);
  }
}

kernelSuite('tfjs webgpu', () => createTfjsEngine({ device: 'webgpu' }), { unavailable: await whyUnavailable() });
