/** One engine of the addon as kernels see it: the addon's functions, the handle that they take, and its memory. */
import type { InstructionSet } from '../../base/instructionSets.ts';
import type { NativeAddon } from './addon.ts';
import { SharedMemory } from './sharedMemory.ts';

export class OpenEngine {
  readonly addon: NativeAddon;
  readonly memory: SharedMemory;
  readonly handle: number;

  constructor(addon: NativeAddon, isa: InstructionSet, threads: number) {
    this.addon = addon;
    this.memory = new SharedMemory(addon);
    this.handle = addon.createEngine(threads, isa);
  }

  /** Ends its threads and forgets its memory. */
  close(): void {
    this.addon.disposeEngine(this.handle);
    this.memory.clear();
  }
}
