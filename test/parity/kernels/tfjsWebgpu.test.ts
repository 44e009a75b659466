import { createTfjsWebgpu, isTfjsRequired, whyUnavailable } from '../webgpu.ts';
import { kernelSuite } from './kernelSuite.ts';

kernelSuite('tfjs webgpu', createTfjsWebgpu, { unavailable: await whyUnavailable(createTfjsWebgpu, isTfjsRequired) });
