/** What an engine says of itself before it is started: a line of the table in engines.ts. */
import type { Engine } from './engine.ts';

/** The precision in which matrix products are read and written. */
export type EnginePrecision = 'float32' | 'bf16';

/** How an engine is started. */
export interface StartOptions {
  /** One of its kinds of device. */
  readonly deviceKind: string;
  /** Which device of that kind, from 0: below its `deviceCount`, or 0. */
  readonly device: number;
  /** Threads of the host; 0: one for each core. */
  readonly threads: number;
  /** One of its units, where one was asked for. */
  readonly unit?: string | undefined;
}

/** One engine. Loading it must cost nothing: what it needs is imported when it is started. */
export interface EngineEntry {
  /** What it is, for the documentation of `engine.name`: half a sentence. */
  readonly doc: string;
  /** The kinds of device that it runs on, as they are listed to people. */
  readonly deviceKinds: readonly string[];
  /** Which of them `auto` is. */
  readonly defaultDeviceKind: string;
  readonly precisions: readonly EnginePrecision[];
  /** Why `auto` tries the next engine of the table; undefined: it takes this one. */
  missing(): string | undefined;
  /** What to do to have it on a kind of device. */
  installHint(deviceKind: string): string;
  /**
   * How many devices of a kind this machine has, of which each worker takes one. Absent: there is one, and every worker of the machine
   * takes it, as they do a processor, or the adapter that a system hands out.
   * @throws UserError if none is there
   */
  deviceCount?(deviceKind: string): Promise<number>;
  /** @throws UserError if it is not there */
  start(options: StartOptions): Promise<Engine>;
  /** What of a device may compute, best first, where that can be asked for: the instruction sets of a processor. */
  units?(): readonly string[];
  /** An engine that lays tensors out as this one does, and computes nothing: to know what memory a step takes. */
  plan?(): Engine;
}
