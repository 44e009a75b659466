/**
 * Which TensorFlow.js backends this machine has, loaded at run time: the optional packages are never imported unless asked for, and
 * what is missing is said with what to install. It holds no tensors and knows no kernels (tfjsEngine.ts does).
 */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import type * as TfCore from '@tensorflow/tfjs-core';
import { messageOf } from '../../base/errors.ts';
import { DeviceUnavailableError, type TfjsBackendName } from './deviceKinds.ts';

export type Tf = typeof TfCore;

export interface TfjsBackend {
  readonly tf: Tf;
  readonly deviceKind: TfjsBackendName;
  /** For people: `wasm`, `webgpu: NVIDIA H200`. */
  readonly detail: string;
  /** Its kernels run after their calls have returned. */
  readonly isAsynchronous: boolean;
  /** Makes it the backend of the next operations: TensorFlow.js has one active backend for each thread. */
  activate(): void;
  /** Resolves when the device has run what it was given. */
  finish(): Promise<void>;
  /** Frees the device when no other engine of this thread uses it. */
  release(): void;
}

/** Loads a package whose presence is not known when this is compiled. */
async function importOptional(specifier: string): Promise<unknown> {
  return import(specifier);
}

function isMissingModule(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND';
}

/** The first of several packages that is installed; the reason why each is not, if none is. */
async function importFirst(specifiers: readonly string[]): Promise<string> {
  const reasons: string[] = [];
  let isAnyInstalled = false;
  for (const specifier of specifiers) {
    try {
      await importOptional(specifier);
      return specifier;
    } catch (error) {
      isAnyInstalled ||= !isMissingModule(error);
      reasons.push(isMissingModule(error) ? `${specifier} is not installed` : `${specifier}: ${firstLine(error)}`);
    }
  }
  throw Object.assign(new Error(reasons.join('; ')), isAnyInstalled ? {} : { code: 'MODULE_NOT_FOUND' });
}

function firstLine(error: unknown): string {
  return messageOf(error).split('\n', 1)[0]!.replace(/\.$/, '');
}

/** Puts a GPU adapter of Dawn where the WebGPU backend looks for it: `navigator.gpu`. Returns its name. */
async function provideWebgpu(): Promise<string> {
  const dawn = (await importOptional('webgpu')) as {
    create(flags: readonly string[]): { requestAdapter(): Promise<{ info?: Record<string, string> } | null> };
    globals: object;
  };
  const scope = globalThis as { navigator?: { gpu?: ReturnType<typeof dawn.create> } };
  if (scope.navigator?.gpu === undefined) {
    Object.assign(globalThis, dawn.globals);
    const gpu = dawn.create([]);
    if (scope.navigator === undefined) scope.navigator = { gpu };
    else scope.navigator.gpu = gpu;
  }
  const adapter = await scope.navigator?.gpu?.requestAdapter();
  if (!adapter) throw new Error('no GPU adapter was found (VK_ICD_FILENAMES selects a Vulkan driver)');
  return adapter.info?.['device'] || adapter.info?.['description'] || adapter.info?.['vendor'] || 'unnamed adapter';
}

/**
 * The wasm module installs process-wide handlers that turn a rejected promise anywhere in the program into an exception of its
 * own. An engine has no business there, so they are taken off again.
 */
async function withoutNewProcessHandlers<T>(load: () => Promise<T>): Promise<T> {
  const events = ['uncaughtException', 'unhandledRejection'];
  const before = new Map(events.map((event) => [event, process.rawListeners(event)]));
  try {
    return await load();
  } finally {
    for (const event of events) {
      for (const listener of process.rawListeners(event)) {
        if (!before.get(event)!.includes(listener)) {
          process.removeListener(event, listener as (...args: unknown[]) => void);
        }
      }
    }
  }
}

let wasmPathIsSet = false;

/** Registers a device's backend with TensorFlow.js. Returns what to tell people about it. */
async function register(deviceKind: TfjsBackendName): Promise<string> {
  switch (deviceKind) {
    case 'tensorflow':
      // Read by the C++ library when it loads: only warnings and errors.
      process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '1';
      return importFirst(['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node']);
    case 'webgpu': {
      const adapter = await provideWebgpu();
      await importOptional('@tensorflow/tfjs-backend-webgpu');
      return adapter;
    }
    case 'wasm': {
      const { setWasmPaths } = await import('@tensorflow/tfjs-backend-wasm');
      const require = createRequire(import.meta.url);
      if (!wasmPathIsSet) setWasmPaths(`${dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}/`);
      wasmPathIsSet = true;
      return '1 thread';
    }
    case 'cpu':
      await import('@tensorflow/tfjs-backend-cpu');
      return 'JavaScript, 1 thread';
    default:
      return deviceKind satisfies never;
  }
}

/** How many engines of this thread hold each device. */
const users = new Map<TfjsBackendName, number>();

function releaseDevice(tf: Tf, deviceKind: TfjsBackendName): void {
  const left = (users.get(deviceKind) ?? 1) - 1;
  users.set(deviceKind, left);
  if (left > 0) return;
  const factory = tf.findBackendFactory(deviceKind);
  tf.removeBackend(deviceKind);
  // Registered again, so that a later engine of this thread can start the device anew.
  tf.registerBackend(deviceKind, factory);
}

/**
 * What the GPU backend has beyond the common interface. `commandEncoder` is null while no kernel waits to be submitted; the pass
 * that kernels are recorded into must be ended before, else all of them are lost.
 */
interface GpuQueue {
  readonly commandEncoder?: object | null;
  readonly queue?: { onSubmittedWorkDone?(): Promise<unknown> };
  endComputePassEncoder?(): void;
  submitQueue?(): void;
}

/** TensorFlow.js is an optional dependency: npm may have left it out. */
async function loadCore(deviceKind: TfjsBackendName): Promise<Tf> {
  try {
    return await import('@tensorflow/tfjs-core');
  } catch (error) {
    if (!isMissingModule(error)) throw error;
    throw new DeviceUnavailableError(deviceKind, 'its packages are not installed', { isInstalled: false });
  }
}

/** Starts a device. Throws a UserError if it is not available, saying what to install. */
export async function loadBackend(deviceKind: TfjsBackendName): Promise<TfjsBackend> {
  const tf = await loadCore(deviceKind);
  // Production mode: no greetings and hints on the console, no checks of every value.
  tf.env().set('PROD', true);
  let detail: string;
  try {
    detail = await withoutNewProcessHandlers(async () => {
      const said = await register(deviceKind);
      // Small tensors would otherwise be computed on the host and large ones on the GPU.
      if (deviceKind === 'webgpu') tf.env().set('WEBGPU_CPU_FORWARD', false);
      if (!(await tf.setBackend(deviceKind))) throw new Error('TensorFlow.js could not start it');
      await tf.ready();
      return said;
    });
  } catch (error) {
    const isInstalled = !isMissingModule(error);
    const reason = isInstalled || deviceKind === 'tensorflow' ? firstLine(error) : 'its packages are not installed';
    throw new DeviceUnavailableError(deviceKind, reason, { isInstalled });
  }
  users.set(deviceKind, (users.get(deviceKind) ?? 0) + 1);
  return {
    tf,
    deviceKind,
    detail,
    isAsynchronous: deviceKind === 'webgpu',
    activate: () => {
      // Switching to a backend that has started takes effect before the promise is returned.
      if (tf.getBackend() !== deviceKind) void tf.setBackend(deviceKind);
    },
    finish: async () => {
      const gpu = tf.engine().findBackend(deviceKind) as GpuQueue;
      if (gpu.commandEncoder) {
        gpu.endComputePassEncoder?.();
        gpu.submitQueue?.();
      }
      await gpu.queue?.onSubmittedWorkDone?.();
    },
    release: () => releaseDevice(tf, deviceKind),
  };
}
