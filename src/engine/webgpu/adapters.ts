/**
 * The GPUs of this machine in a stable order, the fastest kind first. Dawn gives one adapter per request, and lists the others only in
 * the message of an error, by name; a GPU is then requested by its name.
 */
import { messageOf } from '../../base/errors.ts';
import { gpuUnavailable, loadDawn } from './dawn.ts';
import { hideSoftwareDrivers, missingGpu } from './drivers.ts';
import { matrixUnitOf } from './matrixUnits.ts';

/** A GPU, or a driver that computes on the processor. */
export interface GpuAdapter {
  readonly name: string;
  /** Requests for an adapter of it; kept, because Dawn ends when nothing refers to it. */
  readonly gpu: GPU;
  readonly info: GPUAdapterInfo;
  readonly features: GPUSupportedFeatures;
  readonly limits: GPUSupportedLimits;
  /** It computes on the processor. */
  readonly isSoftware: boolean;
  /** How many GPUs have this name, or one that contains it: only the first can be requested. */
  readonly count: number;
}

// Subgroup matrices are experimental, and so is float16 on NVIDIA's Vulkan driver.
const options = [
  'enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia',
  'disable-dawn-features=timestamp_quantization',
];
/** A name that no adapter has: the request fails, and its message lists those that there are. */
const nobody = '(none of the adapters)';

/** The names in Dawn's message, in its order: discrete GPUs, GPUs that share the host's memory, software. */
export function namesOf(message: string): string[] {
  return [...message.matchAll(/^ *\* backend: '[^']*', name: '(.*)'$/gm)].map(([, name]) => name!);
}

/** Names of drivers that compute on the processor, in case one does not say so of itself. */
const softwareNames = /llvmpipe|lavapipe|swiftshader|softpipe|microsoft basic render/i;

let found: Promise<readonly GpuAdapter[]> | undefined;

/**
 * All adapters, software drivers last. Asked for once per thread: each question starts the drivers.
 * @throws UserError if Dawn cannot be loaded
 */
export function allAdapters(): Promise<readonly GpuAdapter[]> {
  found ??= search();
  return found;
}

async function search(): Promise<readonly GpuAdapter[]> {
  const dawn = await loadDawn();
  hideSoftwareDrivers();
  const names = await adapterNames(dawn.create([...options, `adapter=${nobody}`]));
  const adapters = new Map<string, GpuAdapter>();
  for (const name of new Set(names)) {
    const gpu = dawn.create([...options, `adapter=${name}`]);
    const adapter = await gpu.requestAdapter();
    if (adapter === null) continue;
    const { info, features, limits } = adapter;
    // Dawn takes the first whose name contains the requested one.
    const key = info.device || name;
    const count = (adapters.get(key)?.count ?? 0) + names.filter((other) => other === name).length;
    const isSoftware = info.isFallbackAdapter || softwareNames.test(name);
    const first = adapters.get(key)?.name ?? name;
    adapters.set(key, { name: first, gpu, info, features, limits, isSoftware, count });
  }
  const all = [...adapters.values()];
  return [...all.filter(({ isSoftware }) => !isSoftware), ...all.filter(({ isSoftware }) => isSoftware)];
}

async function adapterNames(gpu: GPU): Promise<string[]> {
  try {
    await gpu.requestAdapter();
    return []; // null: there are none
  } catch (error) {
    return namesOf(messageOf(error));
  }
}

/** The adapters that `engine.device` counts: the GPUs, or, without any, the software drivers. */
export function counted(adapters: readonly GpuAdapter[]): readonly GpuAdapter[] {
  const real = adapters.filter(({ isSoftware }) => !isSoftware);
  return real.length > 0 ? real : adapters;
}

/** @throws UserError if no adapter was found, not even of a software driver */
export async function countedAdapters(): Promise<readonly GpuAdapter[]> {
  const adapters = counted(await allAdapters());
  if (adapters.length > 0) return adapters;
  const { reason, cure } = missingGpu();
  throw gpuUnavailable(reason, cure);
}

/** What people should know before they compute on these; undefined if nothing. */
export function cautionOf(adapters: readonly GpuAdapter[]): string | undefined {
  const [first] = adapters;
  if (first?.isSoftware) {
    return `${first.name} is a software driver, which computes on the processor: it is for tests only, and the native engine is many times faster`;
  }
  const twins = adapters.filter(({ count }) => count > 1);
  if (twins.length === 0) return undefined;
  const list = twins.map(({ name, count }) => `${count} GPUs are named ${name}`).join(', ');
  return `${list}, and only the first of each name can be used: start one program per GPU, each in a container with one of them`;
}

/** Matrix units. The type of WebGPU's features does not have it. */
export const matrixFeature = 'chromium-experimental-subgroup-matrix' as GPUFeatureName;

/** Optional features that a device is opened with where it has them. */
export const wantedFeatures = ['shader-f16', 'subgroups', 'timestamp-query', matrixFeature] as const;

/** One adapter in a line, for `launch doctor`. */
export function adapterText({ name, info, features, limits, isSoftware, count }: GpuAdapter): string {
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toLocaleString('en-US', { maximumFractionDigits: 2 })} GiB`;
  const present = wantedFeatures.filter((feature) => features.has(feature));
  const subgroups = info.subgroupMinSize ? `subgroups of ${sizes(info)}` : 'subgroups';
  const named: Partial<Record<GPUFeatureName, string>> = { subgroups, [matrixFeature]: unitsText(info) };
  const texts = present.map((feature) => named[feature] ?? feature);
  const missing = wantedFeatures
    .filter((feature) => !features.has(feature))
    .map((feature) => `no ${feature === matrixFeature ? 'matrix units' : feature}`);
  return [
    `${name}${count > 1 ? ` (one of ${count})` : ''}${isSoftware ? ' (software driver, for tests only)' : ''}`,
    ...[...texts, ...missing],
    `${gib(limits.maxStorageBufferBindingSize)} per binding`,
    `${gib(limits.maxBufferSize)} per buffer`,
    info.description,
  ].join(', ');
}

/** The matrix units that products use. */
function unitsText(info: GPUAdapterInfo): string {
  const units = (['f16', 'f32'] as const).flatMap((element) => matrixUnitOf(info, element) ?? []);
  const texts = units.map(({ element, unitM, unitN, unitK }) => `${element} ${unitM}×${unitN}×${unitK}`);
  return texts.length > 0 ? `matrix units of ${texts.join(' and ')}` : 'no matrix units of a known kind';
}

function sizes({ subgroupMinSize, subgroupMaxSize }: GPUAdapterInfo): string {
  return subgroupMinSize === subgroupMaxSize ? `${subgroupMinSize}` : `${subgroupMinSize} to ${subgroupMaxSize}`;
}
