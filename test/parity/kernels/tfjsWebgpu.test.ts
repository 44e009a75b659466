import { createTfjsWebgpu, whyUnavailable } from '../webgpu.ts';
import { kernelSuite } from './kernelSuite.ts';

kernelSuite('tfjs webgpu', createTfjsWebgpu, { unavailable: await whyUnavailable(createTfjsWebgpu) });
