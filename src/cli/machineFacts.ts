/** Facts about the machine and the versions in use, for `launch doctor`. It starts no engine. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, cpus, freemem, platform, totalmem } from 'node:os';
import { availableCores } from '../base/cores.ts';
import { errorCode, messageOf } from '../base/errors.ts';
import { version } from '../base/version.ts';
import { unitsOf } from '../engine/registry.ts';

export interface MachineFacts {
  readonly platform: string;
  readonly cpu: string;
  /** Cores that this process may use. */
  readonly cores: number;
  /** Instruction sets of the native kernels that this processor supports, best first; empty if the addon is not built. */
  readonly isa: readonly string[];
  /** Memory that this process may use: the limit of the container, if any. */
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
      tfjs: tfjsVersion(),
    },
  };
}

function packageVersion(file: string): string {
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
  return version;
}

function tfjsVersion(): string {
  try {
    return packageVersion(createRequire(import.meta.url).resolve('@tensorflow/tfjs-core/package.json'));
  } catch (error) {
    if (errorCode(error) === 'MODULE_NOT_FOUND') return 'not installed';
    throw error;
  }
}

/** The version of the package; also checks that its native part loads. */
async function zeromqVersion(): Promise<string> {
  try {
    const { version: libzmq } = await import('zeromq');
    const file = createRequire(import.meta.url).resolve('zeromq/package.json');
    return `${packageVersion(file)} (libzmq ${libzmq})`;
  } catch (error) {
    return `does not load: ${messageOf(error).split('\n', 1)[0]}`;
  }
}
