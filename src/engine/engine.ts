/**
 * The engine interface: a device (device.ts) and the kernels that run on it (kernels.ts). Why it is so: docs/decisions/engine-contract.md.
 * Engines: `native/` (C++), `tfjs/` (TensorFlow.js), `webgpu/` (WGSL on GPUs).
 */
import type { Device } from './device.ts';
import type { Kernels } from './kernels.ts';

/** A device that computes. */
export interface Engine extends Device, Kernels {}
