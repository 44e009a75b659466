/**
 * What Linux needs for a GPU: a device node of the kernel, the Vulkan loader, and a driver that the loader finds. Dawn only says that
 * there is no GPU, so the missing part is looked for here. macOS and Windows have all of it.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** What a search finds; the functions below read it, so that tests can describe any machine. */
export interface LinuxGpuParts {
  /** Names of the device nodes of GPUs. */
  readonly nodes: readonly string[];
  readonly hasLoader: boolean;
  /** Names of the manifests of Vulkan drivers. */
  readonly drivers: readonly string[];
  /** `ID` and `ID_LIKE` of /etc/os-release. */
  readonly distribution: string;
}

const nodePatterns = [
  ['/dev/dri', /^renderD/],
  ['/dev', /^(nvidia\d|dxg$|mali\d|kgsl-3d|nvgpu|nvhost-gpu|pvr_sync)/],
] as const;

/** Whether the kernel has a GPU. */
export function gpuNodes(): string[] {
  return nodePatterns.flatMap(([folder, pattern]) => namesIn(folder).filter((name) => pattern.test(name)));
}

/** Manifests of drivers that compute on the processor. */
const software = /^(lvp|vk_swiftshader)/;

/** Whether a GPU may be found: cheap, and never wrong if it says no. */
export function mayHaveGpu(platform: string = process.platform): boolean {
  if (platform !== 'linux') return true;
  return gpuNodes().length > 0 && driverManifests().some((name) => !software.test(name));
}

/** Variables by which users choose their Vulkan drivers. */
const driverVariables = [
  'VK_DRIVER_FILES',
  'VK_ICD_FILENAMES',
  'VK_LOADER_DRIVERS_SELECT',
  'VK_LOADER_DRIVERS_DISABLE',
];

/**
 * On a machine with a GPU, keeps the Vulkan loader from starting software drivers, which Mesa installs beside those of GPUs: Dawn prints
 * warnings about them. Programs that this one starts inherit it. Nothing changes if the user has chosen the drivers.
 */
export function hideSoftwareDrivers(env: NodeJS.ProcessEnv = process.env, isGpuThere: boolean = mayHaveGpu()): void {
  if (process.platform !== 'linux' || !isGpuThere || driverVariables.some((name) => env[name] !== undefined)) return;
  env['VK_LOADER_DRIVERS_DISABLE'] = 'lvp_*,vk_swiftshader*';
}

/** The drivers that the Vulkan loader would try: their manifests' names. */
export function driverManifests(env: NodeJS.ProcessEnv = process.env): string[] {
  const given = env['VK_DRIVER_FILES'] ?? env['VK_ICD_FILENAMES'];
  if (given !== undefined) return given.split(':').map((path) => path.split('/').at(-1)!);
  const home = env['HOME'] ?? '';
  const folders = [
    env['XDG_CONFIG_HOME'] ?? `${home}/.config`,
    ...(env['XDG_CONFIG_DIRS'] ?? '/etc/xdg').split(':'),
    '/etc',
    env['XDG_DATA_HOME'] ?? `${home}/.local/share`,
    ...(env['XDG_DATA_DIRS'] ?? '/usr/local/share:/usr/share').split(':'),
    '/usr/local/share',
    '/usr/share',
    '/run/opengl-driver/share',
  ];
  const names = folders.flatMap((folder) => namesIn(`${folder}/vulkan/icd.d`));
  return [...new Set(names)].filter((name) => name.endsWith('.json'));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // absent, or closed to this user: nothing can be found there
  }
}

/** What this machine has. */
export function linuxGpuParts(): LinuxGpuParts {
  return { nodes: gpuNodes(), hasLoader: hasVulkanLoader(), drivers: driverManifests(), distribution: distribution() };
}

/** Asks the dynamic linker, which alone knows where it searches. */
function hasVulkanLoader(): boolean {
  try {
    process.dlopen({ exports: {} }, 'libvulkan.so.1');
    return true;
  } catch (error) {
    // It is not an addon: if it was found, Node complains of that.
    return /did not self-register/.test(String(error));
  }
}

function distribution(): string {
  try {
    const text = readFileSync('/etc/os-release', 'utf8');
    return [...text.matchAll(/^ID(?:_LIKE)?=(.*)$/gm)].map((match) => match[1]!.replaceAll('"', '')).join(' ');
  } catch {
    return ''; // optional in Linux
  }
}

const installers = {
  debian: { command: 'apt install', loader: 'libvulkan1', mesa: 'mesa-vulkan-drivers' },
  fedora: { command: 'dnf install', loader: 'vulkan-loader', mesa: 'mesa-vulkan-drivers' },
  arch: { command: 'pacman -S', loader: 'vulkan-icd-loader', mesa: 'vulkan-radeon vulkan-intel' },
} as const;

/** Why no GPU was found, and what to do. */
export function missingGpu(
  platform: string = process.platform,
  parts: () => LinuxGpuParts = linuxGpuParts,
): { readonly reason: string; readonly cure: string } {
  if (platform === 'darwin') return { reason: 'no GPU was found', cure: 'use a Mac with Metal 2 or newer' };
  if (platform !== 'linux') return { reason: 'no GPU was found', cure: 'install the driver of your GPU' };
  const { nodes, hasLoader, drivers, distribution } = parts();
  const words = distribution.split(/\s+/);
  const alike = words.some((word) => ['rhel', 'centos'].includes(word)) ? 'fedora' : undefined;
  const family = (Object.keys(installers) as (keyof typeof installers)[]).find((name) => words.includes(name)) ?? alike;
  const known = family && installers[family as keyof typeof installers];
  const say = (packages: (names: { loader: string; mesa: string }) => string) =>
    known
      ? `\`sudo ${known.command} ${packages(known)}\``
      : `install ${packages({ loader: 'the Vulkan loader (libvulkan1 or vulkan-loader)', mesa: "Mesa's Vulkan drivers" })}`;
  const nvidia = "for NVIDIA, install NVIDIA's own driver";
  if (!hasLoader) {
    return { reason: 'the Vulkan loader, libvulkan.so.1, is not installed', cure: say(({ loader }) => loader) };
  }
  if (nodes.length === 0) {
    return {
      reason: 'this machine has no GPU that its kernel knows (nothing in /dev/dri and no /dev/nvidia0)',
      cure: "install the GPU's kernel driver; in a container, pass the GPU on (docker run --gpus all, or --device /dev/dri)",
    };
  }
  if (!drivers.some((name) => !software.test(name))) {
    return {
      reason: 'no Vulkan driver of a GPU is installed',
      cure: `for AMD and Intel ${say(({ mesa }) => mesa)}; ${nvidia}`,
    };
  }
  return {
    reason: `no Vulkan driver finds the GPU (drivers: ${drivers.join(', ')}; devices: ${nodes.join(', ')})`,
    cure: 'see what `vulkaninfo --summary` (package vulkan-tools) says; the user must be allowed to open /dev/dri/renderD* (group render)',
  };
}
