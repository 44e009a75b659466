/** At night: the kernels of tfjs on plain JavaScript take minutes, and their code is that of tfjs wasm, which always runs. */
import { createTfjsEngine } from '../../../src/engine/tfjs/tfjsEngine.ts';
import { isNightly } from '../../skippedTests.ts';
import { kernelSuite } from './kernelSuite.ts';

kernelSuite('tfjs cpu', () => createTfjsEngine({ deviceKind: 'cpu' }), {
  unavailable: isNightly ? undefined : 'scripts/nightly.sh runs it',
});
