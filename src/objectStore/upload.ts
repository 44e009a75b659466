/**
 * Writes one object from a stream of bytes of unknown length, like a file: a small one with one request, a larger one in parts of 16 MiB, of
 * which two travel while the third is filled. The object appears complete or not at all.
 *
 * Over TLS, which detects what was changed on its way, bodies are not in the signature: their hash would take a third of the writer's time. The files of a checkpoint and of
 * prepared data have hashes of their own, which their readers check.
 */
import { createHash, type Hash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import type { OutputFile } from '../base/diskOperations.ts';
import { invariant, UserError } from '../base/errors.ts';
import type { BucketClient } from './client.ts';
import { abortUpload, completeUpload, listUploads, putObject, startUpload, uploadPart } from './objects.ts';
import { unsignedPayload } from './signature.ts';

/** Bytes of a part, unless there would be too many; all stores accept at least 5 MiB and at most 5 GiB. */
const usualPartBytes = 16 * 2 ** 20;
/** Buffers of that size: one is being filled, the others are on their way. With what the sockets hold they stay below 64 MiB. */
const buffersMost = 3;
/** Files of up to this size need no larger buffer. */
const smallBytes = 2 ** 18;
/** Bytes copied and hashed at a time, in 1 to 3 ms: between them, the sockets get what they send next. */
const sliceBytes = 2 ** 20;
/** The limit of S3. */
const partsMost = 10_000;

interface Started {
  readonly id: string;
  readonly mark: string;
  readonly mayHaveTwin: boolean;
}

/** The size of the parts of an object of `bytes` bytes: a multiple of 1 MiB above the usual size. */
export function partBytesFor(bytes: number, least = usualPartBytes): number {
  return bytes <= least * partsMost ? least : Math.ceil(bytes / partsMost / 2 ** 20) * 2 ** 20;
}

/** The large buffers of uploads that follow one another: two files of a checkpoint need no more memory than one. */
export class PartBuffers {
  readonly #free: Uint8Array[] = [];

  take(bytes: number): Uint8Array {
    const fitting = this.#free.findIndex((buffer) => buffer.length >= bytes);
    return fitting < 0 ? new Uint8Array(bytes) : this.#free.splice(fitting, 1)[0]!;
  }

  give(buffers: readonly Uint8Array[]): void {
    for (const buffer of buffers) if (buffer.length > smallBytes) this.#free.push(buffer);
  }
}

export class ObjectUpload implements OutputFile {
  readonly #client: BucketClient;
  readonly #key: string;
  readonly #metadata: Readonly<Record<string, string>>;
  readonly #partBytes: number;
  readonly #pool: PartBuffers;
  readonly #abort = new AbortController();
  /** Buffers that no part uses. */
  readonly #free: Uint8Array[] = [];
  readonly #parts: Promise<string>[] = [];
  readonly #travelling = new Set<Promise<unknown>>();
  #started: Promise<Started> | undefined;
  #buffer: Uint8Array | undefined;
  #buffers = 0;
  #filled = 0;
  #hash: Hash | undefined;
  #isComplete = false;
  #failure: { readonly error: unknown } | undefined;

  /** @param pool where its large buffers come from and go to */
  constructor(
    client: BucketClient,
    key: string,
    metadata: Readonly<Record<string, string>> = {},
    partBytes = usualPartBytes,
    pool = new PartBuffers(),
  ) {
    this.#pool = pool;
    this.#client = client;
    this.#key = key;
    this.#metadata = metadata;
    this.#partBytes = partBytes;
    this.#hash = this.#newHash();
  }

  #newHash(): Hash | undefined {
    return this.#client.isEncrypted ? undefined : createHash('sha256');
  }

  /** Returns when the bytes are copied; waits while all buffers are on their way. @throws the error of a part that failed */
  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      this.#buffer ??= await this.#nextBuffer();
      const piece = bytes.subarray(done, done + Math.min(sliceBytes, this.#partBytes - this.#filled));
      this.#reserve(this.#filled + piece.length);
      this.#buffer.set(piece, this.#filled);
      this.#hash?.update(piece);
      this.#filled += piece.length;
      done += piece.length;
      if (this.#filled === this.#partBytes) this.#sendPart();
      // A buffer may be filled without a wait. The parts that travel meanwhile would stand still.
      if (this.#travelling.size > 0) await turn();
    }
  }

  /** Completes the object. @throws UserError, PeerError as those of {@link BucketClient} */
  async sync(): Promise<void> {
    if (this.#isComplete) return;
    const { signal } = this.#abort;
    const rest = this.#buffer?.subarray(0, this.#filled) ?? new Uint8Array(0);
    if (this.#started === undefined) {
      const sha256 = this.#hash?.digest('hex') ?? unsignedPayload;
      const options = { sha256, metadata: this.#metadata, signal };
      await putObject(this.#client, this.#key, rest, options);
    } else {
      if (rest.length > 0) this.#sendPart();
      const tags = await Promise.all(this.#parts);
      const started = await this.#started;
      await completeUpload(this.#client, this.#key, { ...started, tags, signal });
      if (started.mayHaveTwin) await this.#abortAll(this.#client);
    }
    this.#isComplete = true;
  }

  /** Without {@link sync} before, nothing of the object remains. @throws if the store cannot be told that its parts are not needed */
  async close(): Promise<void> {
    this.#buffer = undefined;
    if (!this.#isComplete) this.#abort.abort();
    await Promise.allSettled(this.#travelling);
    this.#pool.give(this.#free.splice(0));
    if (this.#isComplete) return;
    if (this.#started === undefined) return;
    const started = await this.#started.catch(() => undefined);
    // Who gives up does not wait for a store that is down: the next writer removes what is left.
    const client = this.#client.once();
    if (started !== undefined) await abortUpload(client, this.#key, started.id);
    if (started?.mayHaveTwin !== false) await this.#abortAll(client);
  }

  /** Uploads of this key: a request to begin one may have been carried out although its answer was lost. */
  async #abortAll(client: BucketClient): Promise<void> {
    for (const { key, id } of await listUploads(client, this.#key)) {
      if (key === this.#key) await abortUpload(client, key, id);
    }
  }

  async #nextBuffer(): Promise<Uint8Array> {
    while (this.#free.length === 0 && this.#buffers === buffersMost && this.#failure === undefined) {
      await Promise.race(this.#travelling);
    }
    if (this.#failure !== undefined) throw this.#failure.error;
    const used = this.#free.pop();
    if (used !== undefined) return used;
    this.#buffers += 1;
    return new Uint8Array(0);
  }

  /** Small objects need no large buffer. */
  #reserve(bytes: number): void {
    const buffer = this.#buffer!;
    if (buffer.length >= bytes) return;
    const small = Math.min(this.#partBytes, smallBytes);
    const larger = bytes <= smallBytes ? new Uint8Array(small) : this.#pool.take(this.#partBytes);
    larger.set(buffer.subarray(0, this.#filled));
    this.#buffer = larger;
  }

  #sendPart(): void {
    const { signal } = this.#abort;
    const buffer = this.#buffer;
    const number = this.#parts.length + 1;
    invariant(buffer !== undefined, 'a part has a buffer');
    if (number > partsMost) {
      throw new UserError(
        `${this.#client.pathOf(this.#key)} would be larger than ${partsMost} parts of ${this.#partBytes} bytes, the most an object store takes`,
      );
    }
    const metadata = this.#metadata;
    this.#started ??= startUpload(this.#client, this.#key, { metadata, signal });
    const started = this.#started;
    const body = buffer.subarray(0, this.#filled);
    const sha256 = this.#hash?.digest('hex') ?? unsignedPayload;
    const part = (async () => {
      const { id } = await started;
      return await uploadPart(this.#client, this.#key, { id, number, body, sha256, signal });
    })();
    this.#parts.push(part);
    const end = part.then(
      () => {
        this.#travelling.delete(end);
        this.#free.push(buffer);
      },
      (error: unknown) => {
        this.#travelling.delete(end);
        this.#failure ??= { error };
      },
    );
    this.#travelling.add(end);
    this.#hash = this.#newHash();
    this.#buffer = undefined;
    this.#filled = 0;
  }
}
