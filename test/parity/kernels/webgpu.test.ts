import { createWebgpuEngine, whyNoWebgpu } from '../webgpu.ts';
import { kernelSuite } from './kernelSuite.ts';

kernelSuite('tfjs webgpu', createWebgpuEngine, { unavailable: await whyNoWebgpu() });
