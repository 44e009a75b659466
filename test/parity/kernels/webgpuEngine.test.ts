import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { whyUnavailable } from '../webgpu.ts';
import { kernelSuite } from './kernelSuite.ts';

kernelSuite('webgpu', createWebgpuEngine, { unavailable: await whyUnavailable(createWebgpuEngine) });
