/**
 * Which engine runs: from a name and a device to an Engine, with the reason for the choice. What is asked for by name and is not
 * there is a UserError that says what to install; only `auto` chooses, and it says what it took.
 */
import { messageOf, UserError } from '../base/errors.ts';
import type { Engine } from './engine.ts';
import { DeviceUnavailableError, TFJS_DEVICES, TFJS_INSTALL_HINTS, type TfjsDevice } from './tfjs/backends.ts';
import { createTfjsEngine } from './tfjs/tfjsEngine.ts';

export interface EngineOptions {
  readonly name: 'auto' | 'native' | 'tfjs';
  /** For `tfjs`; `auto` (or absent) is wasm, which is everywhere. */
  readonly device?: TfjsDevice | 'auto' | undefined;
  /** For `native`; 0 or absent: one for each core. */
  readonly threads?: number | undefined;
}

/** An engine that is to be started, and why this one. */
export interface EngineChoice {
  readonly name: 'native' | 'tfjs';
  readonly device: TfjsDevice | undefined;
  readonly threads: number;
  readonly reason: string;
}

/** What `probeEngines` found of one engine and device. */
export interface EngineProbe {
  readonly name: 'native' | 'tfjs';
  readonly device: string;
  readonly available: boolean;
  /** What it runs on, or why it is not available. */
  readonly detail: string;
  /** What to install to have it. */
  readonly install: string;
}

/** Decides without starting anything. */
export function selectEngine({ name, device = 'auto', threads = 0 }: EngineOptions): EngineChoice {
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
      throw new UserError('engine native is not part of this build; use engine.name=tfjs');
    case 'auto':
      if (device !== 'auto') return tfjs(`device ${device} was asked for`);
      return tfjs('the native engine is not part of this build');
    default:
      return name satisfies never;
  }
}

/** Starts the engine that `selectEngine` chooses. A UserError, saying what to install, if it is not there. */
export async function createEngine(options: EngineOptions): Promise<Engine> {
  const choice = selectEngine(options);
  return createTfjsEngine({ device: choice.device ?? 'wasm' });
}

/** Starts and ends every engine once, to say which are there. */
export async function probeEngines(): Promise<EngineProbe[]> {
  const probes: EngineProbe[] = [];
  for (const device of TFJS_DEVICES) probes.push(await probe('tfjs', device));
  return probes;
}

async function probe(name: 'tfjs', device: TfjsDevice): Promise<EngineProbe> {
  const install = TFJS_INSTALL_HINTS[device];
  try {
    const engine = await createEngine({ name, device });
    await engine.dispose();
    return { name, device, available: true, detail: engine.description, install };
  } catch (error) {
    const detail = error instanceof DeviceUnavailableError ? error.reason : messageOf(error);
    return { name, device, available: false, detail, install };
  }
}
