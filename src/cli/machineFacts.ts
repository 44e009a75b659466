/** What `launch doctor` tells of the machine and of the versions in use; no engine is started here. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, cpus, freemem, platform, totalmem } from 'node:os';
import { availableCores } from '../base/cores.ts';
import { messageOf } from '../base/errors.ts';
import { version } from '../base/version.ts';
import { unitsOf } from '../engine/registry.ts';

export interface MachineFacts {
  readonly platform: string;
  readonly cpu: string;
  /** Cores that this process may use. */
  readonly cores: number;
  /** Instruction sets of the native kernels that this processor runs, best first; empty where the addon is not built. */
  readonly isa: readonly string[];
  /** What this process may use: the container's limit where there is one. */
  readonly memoryBytes: number;
  readonly memoryFreeBytes: number;
  readonly versions: Readonly<Record<'lockstep' | 'node' | 'zeromq' | 'tfjs', string>>;
}

export async function machineFacts(): Promise<MachineFacts> {
  const limit = process.constrainedMemory();
  const memoryBytes = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  return {
    platform: `${platform()} ${arch()}`,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableCores(),
    isa: unitsOf('native'),
    memoryBytes,
    memoryFreeBytes: Math.min(freemem(), memoryBytes),
    versions: {
      lockstep: version,
      node: process.versions.node,
      zeromq: await zeromqVersion(),
      tfjs: packageVersion(createRequire(import.meta.url).resolve('@tensorflow/tfjs-core/package.json')),
    },
  };
}

function packageVersion(file: string): string {
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
  return version;
}

/** The package's version, and that its native part loads. */
async function zeromqVersion(): Promise<string> {
  try {
    const { version: libzmq } = await import('zeromq');
    const file = createRequire(import.meta.url).resolve('zeromq/package.json');
    return `${packageVersion(file)} (libzmq ${libzmq})`;
  } catch (error) {
    return `does not load: ${messageOf(error).split('\n', 1)[0]}`;
  }
}
