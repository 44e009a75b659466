/**
 * Which engine runs: from a name and a device to an Engine, with the reason for the choice. What is asked for by name and is not
 * there is a UserError that says what to install; only `auto` chooses, and it says what it took.
 */
import { messageOf, UserError } from '../base/errors.ts';
import type { Engine } from './engine.ts';
import { loadNative } from './native/addon.ts';
import { createNativeEngine } from './native/nativeEngine.ts';
import { DeviceUnavailableError, TFJS_DEVICES, TFJS_INSTALL_HINTS, type TfjsDevice } from './tfjs/devices.ts';
import { createTfjsEngine } from './tfjs/tfjsEngine.ts';
import { tryEngine } from './trial.ts';

/** Which engine, on which device. */
export interface EngineOptions {
  /** `auto`: the native engine where it is built, else TensorFlow.js. */
  readonly name: 'auto' | 'native' | 'tfjs';
  /** For `tfjs`; `auto` (or absent) is wasm, which is everywhere. The native engine runs on the cpu only. */
  readonly device?: TfjsDevice | 'auto' | undefined;
  /** For `native`; 0 or absent: one for each core. */
  readonly threads?: number | undefined;
}

/** An engine that is to be started, and why this one. */
export interface EngineChoice {
  readonly name: 'native' | 'tfjs';
  readonly device: TfjsDevice;
  /** Of `native`; 0: one for each core. */
  readonly threads: number;
  readonly reason: string;
}

/** One engine on one device, as `launch doctor` lists them. */
export interface EngineTarget {
  readonly name: 'native' | 'tfjs';
  readonly device: TfjsDevice;
}

/** What was found of one engine and device. */
export interface EngineProbe extends EngineTarget {
  /** It starts, and multiplies matrices correctly. */
  readonly available: boolean;
  /** What it runs on, or why it is not available. */
  readonly detail: string;
  /** What to do to have it. */
  readonly install: string;
}

export const ENGINE_TARGETS: readonly EngineTarget[] = [
  { name: 'native', device: 'cpu' },
  ...TFJS_DEVICES.map((device) => ({ name: 'tfjs', device }) as const),
];

const NATIVE_INSTALL_HINT = 'install python3, make and g++, then run npm run build:native';

/** Decides without starting anything; whether what is asked for is there shows when it is started. */
export function selectEngine({ name, device = 'auto', threads = 0 }: EngineOptions): EngineChoice {
  const native = (reason: string): EngineChoice => ({ name: 'native', device: 'cpu', threads, reason });
  const tfjs = (reason: string): EngineChoice => ({
    name: 'tfjs',
    device: device === 'auto' ? 'wasm' : device,
    threads,
    reason,
  });
  switch (name) {
    case 'tfjs':
      return tfjs('engine tfjs was asked for');
    case 'native':
      if (device !== 'auto' && device !== 'cpu') {
        throw new UserError(
          `engine native runs on the cpu, not on device '${device}': set engine.name to tfjs for that`,
        );
      }
      return native('engine native was asked for');
    case 'auto': {
      if (device !== 'auto') return tfjs(`device ${device} was asked for`);
      const load = loadNative();
      return 'addon' in load ? native('the native addon is built') : tfjs(load.error);
    }
    default:
      return name satisfies never;
  }
}

/** Starts the engine that `selectEngine` chooses. A UserError, saying what to install, if it is not there. */
export async function createEngine(options: EngineOptions): Promise<Engine> {
  const { name, device, threads } = selectEngine(options);
  return name === 'native' ? createNativeEngine({ threads }) : createTfjsEngine({ device });
}

export function installHint({ name, device }: EngineTarget): string {
  return name === 'native' ? NATIVE_INSTALL_HINT : TFJS_INSTALL_HINTS[device];
}

/** Starts an engine, multiplies two matrices on it, ends it. */
export async function probeEngine(target: EngineTarget): Promise<EngineProbe> {
  const install = installHint(target);
  try {
    const engine = await createEngine(target);
    const { correct, maxError } = await tryEngine(engine).finally(() => engine.dispose());
    const detail = correct ? engine.description : `${engine.description} multiplies wrongly: off by ${maxError}`;
    return { ...target, available: correct, detail, install };
  } catch (error) {
    const detail = error instanceof DeviceUnavailableError ? error.reason : messageOf(error);
    return { ...target, available: false, detail, install };
  }
}
