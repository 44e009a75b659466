/** Copies between the host and the GPU. The host reads through staging buffers, which it maps when their copies have run. */
import type { HostArray } from '../tensor.ts';
import type { Commands } from './commands.ts';
import { bufferUsage } from './constants.ts';
import type { DeviceBuffer, DeviceMemory } from './memory.ts';

/** What a staging buffer of a snapshot holds at most: some drivers have little memory that the host can map. */
const SNAPSHOT_STAGING_BYTES = 2 ** 25;

export class Transfers {
  readonly #commands: Commands;
  readonly #memory: DeviceMemory;

  constructor(commands: Commands, memory: DeviceMemory) {
    this.#commands = commands;
    this.#memory = memory;
  }

  /** Copies the bytes from `offset` on, as they are now, to all of `into`. */
  async read(buffer: DeviceBuffer, offset: number, into: HostArray): Promise<void> {
    this.#commands.throwFailure();
    if (into.byteLength === 0) return this.#commands.check();
    const staging = this.#memory.take(into.byteLength, bufferUsage.staging);
    this.#commands.copy(buffer, offset, staging, 0, into.byteLength);
    this.#commands.submit();
    await this.#mapped(staging, into);
  }

  /**
   * Copies several buffers out, as they are now: first within the device, so that what follows may write them at once, then in
   * pieces.
   */
  async snapshot(sources: readonly DeviceBuffer[], into: readonly Float32Array[]): Promise<void> {
    this.#commands.throwFailure();
    const copies = sources.map((source, i) => {
      const copy = this.#memory.take(Math.max(4, into[i]!.byteLength));
      this.#commands.copy(source, 0, copy, 0, into[i]!.byteLength);
      return copy;
    });
    this.#commands.submit();
    try {
      for (const [i, copy] of copies.entries()) {
        const step = SNAPSHOT_STAGING_BYTES / 4;
        for (let from = 0; from < into[i]!.length; from += step) {
          await this.read(copy, 4 * from, into[i]!.subarray(from, from + step));
        }
      }
    } finally {
      for (const copy of copies) this.#memory.discard(copy);
    }
  }

  async #mapped(staging: DeviceBuffer, into: HostArray): Promise<void> {
    await this.#commands.map(staging.gpu);
    const bytes = staging.gpu.getMappedRange(0, into.byteLength);
    into.set(into instanceof Int32Array ? new Int32Array(bytes) : new Float32Array(bytes));
    staging.gpu.unmap();
    this.#memory.give(staging);
  }
}
