/**
 * Records the last events of a process, to find out why it failed. It is a ring buffer of fixed size that keeps references and
 * formats them only when dumped, so recording takes well under a microsecond and is always on.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Clock, systemClock } from './clock.ts';
import { messageOf } from './errors.ts';

/** Maximum length of a line in a dump, in characters. */
const lineLengthMax = 1_024;
const textLengthMax = 256;

export interface FlightRecorderOptions {
  /** The folder in which {@link FlightRecorder.write} creates `NAME.jsonl`. */
  readonly folder: string;
  /** The name of the process. */
  readonly name: string;
  /** Number of events to keep. Default 1000. */
  readonly capacity?: number;
  readonly clock?: Pick<Clock, 'now' | 'monotonic'>;
}

export class FlightRecorder {
  readonly path: string;
  readonly #capacity: number;
  readonly #clock: Pick<Clock, 'now' | 'monotonic'>;
  readonly #walls: Float64Array;
  readonly #monotonics: Float64Array;
  readonly #whats: string[];
  readonly #details: (object | undefined)[];
  #count = 0;

  constructor({ folder, name, capacity = 1_000, clock = systemClock }: FlightRecorderOptions) {
    this.path = join(folder, `${name}.jsonl`);
    this.#capacity = capacity;
    this.#clock = clock;
    this.#walls = new Float64Array(capacity);
    this.#monotonics = new Float64Array(capacity);
    this.#whats = new Array<string>(capacity).fill('');
    this.#details = new Array<object | undefined>(capacity).fill(undefined);
  }

  /**
   * @param what the kind of event: `sent`, `received`, `term`
   * @param details kept by reference for 1000 events and read when dumped; must be small and must not change
   */
  record(what: string, details?: object): void {
    const at = this.#count++ % this.#capacity;
    this.#walls[at] = this.#clock.now();
    this.#monotonics[at] = this.#clock.monotonic();
    this.#whats[at] = what;
    this.#details[at] = details;
  }

  /** One JSON object per line, newest last. Long lines are cut; values that JSON cannot represent are left out. */
  dump(): string {
    const lines: string[] = [];
    for (let i = Math.max(0, this.#count - this.#capacity); i < this.#count; i++) lines.push(this.#line(i));
    return lines.join('');
  }

  /** Writes the dump, readable only by this user. Never throws, because the process is already failing. @returns the error message, if any */
  write(): string | undefined {
    try {
      mkdirSync(dirname(this.path), { recursive: true });
      // An existing file would keep its mode.
      rmSync(this.path, { force: true });
      writeFileSync(this.path, this.dump(), { mode: 0o600, flag: 'wx' });
      return undefined;
    } catch (error) {
      return `cannot write ${this.path}: ${messageOf(error)}`;
    }
  }

  #line(index: number): string {
    const at = index % this.#capacity;
    const head = {
      number: index + 1,
      time: timeOf(this.#walls[at] ?? 0),
      ms: Math.round((this.#monotonics[at] ?? 0) * 1_000) / 1_000,
      what: this.#whats[at]?.slice(0, textLengthMax) ?? '',
    };
    const details = this.#details[at];
    if (details === undefined) return `${JSON.stringify(head)}\n`;
    const line = textOf({ ...head, details });
    if (line !== undefined && line.length <= lineLengthMax) return `${line}\n`;
    const text = textOf(details);
    const cut =
      text === undefined ? { omitted: 'no JSON' } : { cut: text.slice(0, textLengthMax), length: text.length };
    return `${JSON.stringify({ ...head, details: cut })}\n`;
  }
}

/** Bytes are replaced by their number, because a payload must not be written out. */
function textOf(value: object): string | undefined {
  try {
    return JSON.stringify(value, (_, part: unknown) => {
      if (part instanceof Uint8Array || ArrayBuffer.isView(part)) return `${part.byteLength} bytes`;
      if (typeof part === 'bigint') return String(part);
      return part;
    });
  } catch {
    // The value refers to itself, or one of its getters threw.
    return undefined;
  }
}

function timeOf(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? '' : date.toISOString();
}
