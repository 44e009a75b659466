/**
 * Whether the tests can run on WebGPU here. It needs the optional packages and a driver, which most machines that run the tests
 * do not have; where LOCKSTEP_REQUIRE_WEBGPU=1 says that they are there (scripts/ciWebgpu.sh), their absence fails.
 */
import { messageOf } from '../../src/base/errors.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { createTfjsEngine } from '../../src/engine/tfjs/tfjsEngine.ts';
import { countedAdapters } from '../../src/engine/webgpu/adapters.ts';
import { matrixUnitOf } from '../../src/engine/webgpu/matrixUnits.ts';
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

/**
 * Whether products of float16 factors use matrix units here; scripts/matrixUnits.sh runs the tests where they do, and requires it by
 * LOCKSTEP_REQUIRE_MATRIX_UNITS=1.
 */
export async function hasMatrixUnits(): Promise<boolean> {
  const [adapter] = await countedAdapters().catch(() => []);
  const isThere = adapter !== undefined && matrixUnitOf(adapter.info, 'f16') !== undefined;
  if (!isThere && process.env['LOCKSTEP_REQUIRE_MATRIX_UNITS'] === '1') {
    throw new Error(`${adapter?.name ?? 'no GPU'}: no matrix units for float16 factors and float32 sums`);
  }
  return isThere;
}
