/**
 * Whether the tests can run on WebGPU here. It needs the optional packages and a driver, which most machines that run the tests
 * do not have; where LOCKSTEP_REQUIRE_WEBGPU=1 says that they are there (scripts/ciWebgpu.sh), their absence fails.
 */
import { messageOf } from '../../src/base/errors.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { createTfjsEngine } from '../../src/engine/tfjs/tfjsEngine.ts';

export async function createWebgpuEngine(): Promise<Engine> {
  return createTfjsEngine({ deviceKind: 'webgpu' });
}

/** Why not; undefined if they can. */
export async function whyNoWebgpu(): Promise<string | undefined> {
  try {
    await (await createWebgpuEngine()).dispose();
    return undefined;
  } catch (error) {
    if (process.env['LOCKSTEP_REQUIRE_WEBGPU'] === '1') throw error;
    return messageOf(error);
  }
}
