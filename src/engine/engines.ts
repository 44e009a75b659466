/**
 * The engines, by the names that `engine.name` takes; `auto` takes the first that is present. To add one: its folder, and its
 * line here. The keys of the config, the choices of the command line and `launch doctor` follow.
 */
import type { EngineEntry } from './engineEntry.ts';
import { native } from './native/entry.ts';
import { tfjs } from './tfjs/entry.ts';
import { webgpu } from './webgpu/entry.ts';

export const engines = { webgpu, native, tfjs } as const satisfies Readonly<Record<string, EngineEntry>>;

export type EngineName = keyof typeof engines;
/** Kinds of device of engines that run on several, and so can be asked for. */
export type DeviceKind = (typeof engines)['tfjs']['deviceKinds'][number];

const entries: readonly (readonly [string, EngineEntry])[] = Object.entries(engines);

/** What `engine.name` takes. */
export const engineNames = ['auto', ...(Object.keys(engines) as EngineName[])] as const;

/** The engine for a device by the name that other programs have for it, such as `cuda`; undefined for other words. */
export function engineMeant(word: string): EngineName | undefined {
  if (/^(gpu|cuda|rocm|metal|mps|vulkan)(:\d+)?$/i.test(word)) return 'webgpu';
  return word === 'cpu' ? 'native' : undefined;
}

/** What completes a message about an unknown engine, as a sentence; undefined if {@link engineMeant} does not know the word. */
export function engineHint(word: unknown): string | undefined {
  const engine = engineMeant(String(word));
  return engine && `The engine for ${engine === 'webgpu' ? 'a GPU' : 'the processor'} is ${engine}.`;
}

/** Whether a kind of device can be asked for: the engine runs on several. */
export const hasDeviceKinds = ({ deviceKinds }: EngineEntry): boolean => deviceKinds.length > 1;

/** What `engine.deviceKind` takes. */
export const deviceKinds = [
  'auto',
  ...new Set(
    entries.flatMap(([, entry]) => (hasDeviceKinds(entry) ? (entry.deviceKinds as readonly DeviceKind[]) : [])),
  ),
] as const;

/** The maximum of `engine.device`, more than any machine has. */
export const deviceIndexMax = 1023;

/** The names of the engines for which something holds, for messages. */
export function enginesThat(holds: (entry: EngineEntry) => boolean): string {
  const names = entries.filter(([, entry]) => holds(entry)).map(([name]) => name);
  return `${names.join(' and ')} ${names.length === 1 ? 'engine' : 'engines'}`;
}
