/** What an engine says of itself before it is started: a line of the table in engines.ts. */
import type { Engine } from './engine.ts';
import type { EnginePrecision } from './precision.ts';

/** Whether `auto` takes an engine. */
export type Presence =
  | { /** Why it does. */ readonly found: string }
  | {
      /** Why it does not. */
      readonly missing: string;
      /** Many machines lack it, so the next engine is as good as expected: no warning. */
      readonly isUsual?: boolean;
    };

/** How an engine is started. */
export interface StartOptions {
  /** One of its kinds of device. */
  readonly deviceKind: string;
  /** Which device of that kind, from 0: one of its `devices`, or 0. */
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
  /** Whether `auto` takes it, or tries the next engine of the table. */
  presence(): Presence | Promise<Presence>;
  /** What to do to have it on a kind of device. */
  installHint(deviceKind: string): string;
  /**
   * The names of the devices of a kind on this machine, in the order of their indexes; each worker takes one. Absent: there is one, which
   * all workers of the machine share, such as the processor.
   * @throws UserError if there is none
   */
  devices?(deviceKind: string): Promise<readonly string[]>;
  /** What people should know before they compute on these devices, as the text of a warning; undefined if nothing. */
  caution?(): Promise<string | undefined>;
  /** What `launch doctor` says of the devices: a line for each, those that cannot be used too. */
  details?(): Promise<readonly string[]>;
  /** @throws UserError if it is not there */
  start(options: StartOptions): Promise<Engine>;
  /** What of a device may compute, best first, where that can be asked for: the instruction sets of a processor. */
  units?(): readonly string[];
  /** An engine that lays tensors out as this one does, and computes nothing: to know what memory a step takes. */
  plan?(): Engine;
  /** The same for one of its devices, by the index among `devices`, whose memory has its own limits. @throws UserError if there is none */
  planDevice?(device: number): Promise<Engine>;
}
