/**
 * Writes one checkpoint from an ordered byte stream, file after file, the manifest last. Where it is written, and how readers come to see
 * it at once, is a matter of its draft (checkpointPlace.ts). The caller's chunk bounds the memory. Hashing and file writes work slice by
 * slice, so they block the coordinator's event loop for a few milliseconds at most.
 */
import { createHash } from 'node:crypto';
import type { ModelConfig } from '../architecture/registry.ts';
import type { OutputFile } from '../base/diskOperations.ts';
import { InvariantError, invariant, messageOf, PeerError } from '../base/errors.ts';
import { isTrainedTensor, partsOf, type StateTensor, stateParts, tensorsOf } from '../base/stateParts.ts';
import type { CheckpointDraft } from './checkpointPlace.ts';
import {
  CONFIG_FILE,
  checkTokenizerFileName,
  encodeManifest,
  encodeTrainer,
  MANIFEST_FILE,
  MODEL_FILE,
  OPTIMIZER_FILE,
  TRAINER_FILE,
  type TrainerState,
} from './manifest.ts';
import { encodeModelConfig, fileTensorsOf, matchTensors } from './modelConfig.ts';
import { elementCount, encodeSafetensorsHeader, type TensorShape } from './safetensors.ts';

/** The contents of a checkpoint, without the tensors' bytes. */
export interface CheckpointContents {
  /** Every parameter, in the order in which its bytes arrive, and the scaling of the loss, if any; at least one is trained. Default of `parts`: model, m and v. */
  readonly tensors: readonly (TensorShape & Partial<Pick<StateTensor, 'parts'>>)[];
  readonly modelConfig: ModelConfig;
  /** File name → content, in Hugging Face's layout; the tokenizer reads them back. */
  readonly tokenizerFiles: Readonly<Record<string, string>>;
  /** The tokenizer's end-of-document token id, at which other libraries stop generating; undefined if it has none. */
  readonly endOfText: number | undefined;
  readonly trainer: TrainerState;
}

/** Bytes hashed and written at a time; sha256 of 1 MiB takes 1 to 3 ms. */
const SLICE_BYTES = 2 ** 20;

interface OpenFile {
  readonly name: string;
  readonly file: OutputFile;
  readonly hash: ReturnType<typeof createHash>;
  bytes: number;
}

type State = 'open' | 'committed' | 'aborted';

/** Size of a state in bytes: 4 per number of each part. */
export function stateBytes(tensors: readonly StateTensor[]): number {
  return stateParts.reduce((sum, part) => sum + bytesOf(tensorsOf(part, tensors)), 0);
}

/** Created by `CheckpointStore.beginWrite`. After an error it removes its files and accepts no more calls. */
export class CheckpointWriter {
  /** Bytes of tensors that must be written before {@link commit}; see {@link stateBytes}. */
  readonly expectedBytes: number;
  readonly #draft: CheckpointDraft;
  readonly #contents: CheckpointContents;
  readonly #afterCommit: () => Promise<void>;
  readonly #files = new Map<string, { bytes: number; sha256: string }>();
  readonly #modelBytes: number;
  readonly #tensors: readonly StateTensor[];
  #current: OpenFile | undefined;
  #receivedBytes = 0;
  #state: State = 'open';
  #queue: Promise<void> = Promise.resolve();

  /** @internal use {@link beginCheckpoint} */
  constructor(draft: CheckpointDraft, contents: CheckpointContents, afterCommit: () => Promise<void>) {
    this.#draft = draft;
    this.#contents = contents;
    this.#afterCommit = afterCommit;
    this.#tensors = tensorsIn(contents);
    this.#modelBytes = bytesOf(tensorsOf('model', this.#tensors));
    this.expectedBytes = stateBytes(this.#tensors);
  }

  /** Writes everything except the tensors. The store calls it once. */
  begin(): Promise<void> {
    return this.#exclusively(async () => {
      const { modelConfig, tokenizerFiles, endOfText, trainer, tensors } = this.#contents;
      await this.#draft.begin(this.expectedBytes);
      for (const [name, content] of Object.entries(tokenizerFiles).sort(([a], [b]) => (a < b ? -1 : 1))) {
        await this.#writeSmallFile(name, content);
      }
      await this.#writeSmallFile(CONFIG_FILE, encodeModelConfig(modelConfig, endOfText));
      await this.#writeSmallFile(TRAINER_FILE, encodeTrainer(trainer));
      // from_pretrained asks for this key
      const parameters = tensorsOf('model', tensorsIn({ tensors }));
      const header = encodeSafetensorsHeader(fileTensorsOf(parameters, modelConfig), { format: 'pt' });
      await this.#openFile(MODEL_FILE, header.length + this.#modelBytes);
      await this.#append(header);
    });
  }

  /**
   * Writes the next bytes of the stream: part after part (stateParts.ts), of all parameters that have it, float32 little-endian,
   * each in the order of `tensors`. Chunks may begin and end anywhere. Await it before the next call (backpressure), and do not
   * change `bytes` until then.
   * @throws PeerError with the cause when the disk is full or fails; this checkpoint's files are then removed
   */
  write(bytes: Uint8Array): Promise<void> {
    return this.#exclusively(async () => {
      if (this.#receivedBytes + bytes.length > this.expectedBytes) {
        throw new InvariantError(`a checkpoint of ${this.expectedBytes} bytes was sent more than that`);
      }
      for (let done = 0; done < bytes.length; ) {
        const untilOptimizer = this.#modelBytes - this.#receivedBytes;
        if (untilOptimizer === 0) await this.#beginOptimizerFile();
        const room = untilOptimizer > 0 ? Math.min(SLICE_BYTES, untilOptimizer) : SLICE_BYTES;
        const slice = bytes.subarray(done, done + room);
        await this.#append(slice);
        done += slice.length;
        this.#receivedBytes += slice.length;
      }
    });
  }

  /**
   * Makes the checkpoint durable and visible; then the store deletes the checkpoints that retention no longer keeps.
   * @returns the path of the new folder
   * @throws PeerError as {@link write}
   */
  async commit(): Promise<string> {
    await this.#exclusively(async () => {
      invariant(
        this.#receivedBytes === this.expectedBytes,
        `a checkpoint of ${this.expectedBytes} bytes was committed after ${this.#receivedBytes}`,
      );
      await this.#finishFile();
      await this.#writeSmallFile(MANIFEST_FILE, encodeManifest(this.#contents.trainer.step, this.#files));
      await this.#draft.publish();
      this.#state = 'committed';
    });
    await this.#afterCommit();
    return this.#draft.path;
  }

  /** Abandons the checkpoint and removes its files. Does nothing after a commit or an earlier abort. Never throws. */
  async abort(): Promise<void> {
    await this.#queue.catch(() => undefined);
    await this.#discard();
  }

  async #writeSmallFile(name: string, content: string): Promise<void> {
    const bytes = new TextEncoder().encode(content);
    await this.#openFile(name, bytes.length);
    await this.#append(bytes);
    await this.#finishFile();
  }

  async #beginOptimizerFile(): Promise<void> {
    if (this.#current?.name === OPTIMIZER_FILE) return;
    await this.#finishFile();
    const [, ...others] = stateParts;
    const tensors = others.flatMap((part) =>
      tensorsOf(part, this.#tensors).map(({ name, shape }) => ({ name: `${part}.${name}`, shape })),
    );
    const header = encodeSafetensorsHeader(tensors, {});
    await this.#openFile(OPTIMIZER_FILE, header.length + this.expectedBytes - this.#modelBytes);
    await this.#append(header);
  }

  async #openFile(name: string, bytes: number): Promise<void> {
    const file = await this.#draft.createFile(name, bytes);
    this.#current = { name, file, hash: createHash('sha256'), bytes: 0 };
  }

  async #append(bytes: Uint8Array): Promise<void> {
    const current = this.#current;
    invariant(current !== undefined, 'a checkpoint file is open');
    current.hash.update(bytes);
    current.bytes += bytes.length;
    await current.file.write(bytes);
  }

  async #finishFile(): Promise<void> {
    const current = this.#current;
    invariant(current !== undefined, 'a checkpoint file is open');
    await current.file.sync();
    this.#current = undefined;
    await current.file.close();
    this.#files.set(current.name, { bytes: current.bytes, sha256: current.hash.digest('hex') });
  }

  /** Runs operations one at a time, in call order; the first failure discards everything. */
  #exclusively(operation: () => Promise<void>): Promise<void> {
    const done = this.#queue.then(async () => {
      if (this.#state !== 'open') throw new InvariantError(`this checkpoint writer is ${this.#state}`);
      try {
        await operation();
      } catch (error) {
        await this.#discard();
        if (error instanceof InvariantError) throw error;
        throw this.#failure(error);
      }
    });
    this.#queue = done.catch(() => undefined);
    return done;
  }

  async #discard(): Promise<void> {
    if (this.#state !== 'open') return;
    this.#state = 'aborted';
    const current = this.#current;
    this.#current = undefined;
    await current?.file.close().catch(() => undefined);
    await this.#draft.discard();
  }

  #failure(error: unknown): PeerError {
    const why = messageOf(error);
    const { path, isVisible } = this.#draft;
    const message = isVisible
      ? `${path} is complete, but might not survive a power failure: ${why}`
      : `${path} could not be written: ${why} (its files were removed)`;
    return new PeerError(message, { cause: error });
  }
}

/** Checks the contents and starts the write. @throws PeerError when the disk fails */
export async function beginCheckpoint(
  draft: CheckpointDraft,
  contents: CheckpointContents,
  afterCommit: () => Promise<void>,
): Promise<CheckpointWriter> {
  try {
    matchTensors(tensorsOf('model', tensorsIn(contents)), contents.modelConfig, 'the new checkpoint');
  } catch (error) {
    throw new InvariantError(messageOf(error));
  }
  invariant(tensorsIn(contents).some(isTrainedTensor), 'the new checkpoint has no parameter that is trained');
  for (const name of Object.keys(contents.tokenizerFiles)) checkTokenizerFileName(name);
  const writer = new CheckpointWriter(draft, contents, afterCommit);
  await writer.begin();
  return writer;
}

function tensorsIn({ tensors }: Pick<CheckpointContents, 'tensors'>): StateTensor[] {
  return tensors.map((tensor) => ({ parts: partsOf({ trained: true }), ...tensor }));
}

function bytesOf(tensors: readonly TensorShape[]): number {
  return 4 * tensors.reduce((total, { shape }) => total + elementCount(shape), 0);
}
