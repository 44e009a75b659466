/** Loads Dawn, the WebGPU implementation of the npm package `webgpu`. Nothing else imports it, and nothing loads it before it is needed. */
import { createRequire } from 'node:module';
import { messageOf } from '../../base/errors.ts';
import { addOptionalDependencies } from '../../base/installation.ts';
import { EngineUnavailableError } from '../engineUnavailable.ts';

export type Dawn = typeof import('webgpu');

/** On a machine that does not have it. */
export function gpuUnavailable(reason: string, cure: string): EngineUnavailableError {
  return new EngineUnavailableError('engine webgpu', reason, cure);
}

export function isDawnInstalled(): boolean {
  try {
    createRequire(import.meta.url).resolve('webgpu');
    return true;
  } catch {
    return false;
  }
}

/** @throws UserError if the package is not installed, or has no program for this system */
export async function loadDawn(): Promise<Dawn> {
  if (!isDawnInstalled()) throw gpuUnavailable('the package webgpu is not installed', addOptionalDependencies());
  try {
    return await import('webgpu');
  } catch (error) {
    throw unloadable(messageOf(error));
  }
}

/** The oldest glibc that the package's programs for Linux accept. */
const GLIBC = '2.34';

/** Why the package does not load, by the message of the loader. */
export function unloadable(
  message: string,
  { platform = process.platform as string, arch = process.arch as string, glibc = glibcVersion() } = {},
): EngineUnavailableError {
  const [first = ''] = message.split('\n');
  const system = `use a system with glibc ${GLIBC} or newer: Debian 12, Ubuntu 22.04, Fedora 35 or RHEL 9`;
  if (/Cannot find module/.test(first)) {
    return gpuUnavailable(
      `the package webgpu has no program for ${platform} ${arch}`,
      'use Linux or Windows on x64 or arm64, or macOS',
    );
  }
  if (platform === 'linux' && glibc === null) {
    return gpuUnavailable(
      'the package webgpu needs glibc, and this system has another C library, such as musl',
      system,
    );
  }
  if (/GLIBC(XX)?_[\d.]+' not found/.test(first)) {
    return gpuUnavailable(`the package webgpu needs glibc ${GLIBC}, and this system has ${glibc}`, system);
  }
  return gpuUnavailable(`the package webgpu does not load: ${first}`, addOptionalDependencies());
}

/** Null for another C library. */
function glibcVersion(): string | null {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime ?? null;
}
