/** One checkpoint, opened and verified by `openCheckpoint`. Its tensors are streamed: none is ever held in memory as a unit. */
import type { ModelConfig } from '../architecture/registry.ts';
import { InvariantError, UserError } from '../base/errors.ts';
import { encodeScaling, initialScaling } from '../base/lossScaling.ts';
import { fromFolder } from '../base/objectPath.ts';
import { isTrainedTensor, type StatePart, type StateTensor } from '../base/stateParts.ts';
import { openStored, type StoredFile } from '../objectStore/storedFiles.ts';
import type { TrainerState } from './manifest.ts';
import { fixedTable } from './modelConfig.ts';
import type { TensorShape } from './safetensors.ts';
import { type PlacedTensor, readTensor, type TensorTable } from './tensorTables.ts';

/** A verified checkpoint. It holds tables and small files in memory; the tensors stay on disk. */
export class Checkpoint {
  readonly path: string;
  readonly modelConfig: ModelConfig;
  /** Number of updates applied so far; undefined for a folder that Lockstep did not write. */
  readonly step: number | undefined;
  /** Undefined for a folder that Lockstep did not write, and when only the model was requested and `trainer.json` is missing. */
  readonly trainer: TrainerState | undefined;
  readonly tokenizerFiles: Readonly<Record<string, string>>;
  /** The parameters under Lockstep's names, in file order. */
  readonly tensors: readonly TensorShape[];
  /** Why it cannot be trained further, as a sentence; undefined if it can. */
  readonly trainingProblem: string | undefined;
  /** The folder of the base of an adapter of PEFT; otherwise undefined. */
  readonly base: string | undefined;
  /** A file of its tokenizer that Lockstep does not read, in a folder that has no other. */
  readonly unreadTokenizer: string | undefined;
  readonly #tables: Readonly<Record<StatePart, TensorTable | undefined>>;

  /** @internal use {@link openCheckpoint} */
  constructor(fields: {
    path: string;
    step: number | undefined;
    modelConfig: ModelConfig;
    trainer: TrainerState | undefined;
    tokenizerFiles: Record<string, string>;
    tables: Record<StatePart, TensorTable | undefined>;
    trainingProblem?: string | undefined;
    base?: string;
    unreadTokenizer?: string | undefined;
  }) {
    this.path = fields.path;
    this.step = fields.step;
    this.modelConfig = fields.modelConfig;
    this.trainer = fields.trainer;
    this.tokenizerFiles = fields.tokenizerFiles;
    this.#tables = fields.tables;
    this.trainingProblem = fields.trainingProblem;
    this.base = fields.base;
    this.unreadTokenizer = fields.unreadTokenizer;
    this.tensors = [...(fields.tables.model ?? [])].map(([name, { shape }]) => ({ name, shape }));
  }

  /** Names of the parameters whose `m` can be streamed: those that were trained. Empty without optimizer state. */
  get moments(): readonly string[] {
    return [...(this.#tables.m?.keys() ?? [])];
  }

  /** Whether `v` of a parameter can be streamed: AdamW updated it. */
  hasSecondMoment(name: string): boolean {
    return this.#tables.v?.has(name) ?? false;
  }

  /** Whether it has exactly the moments of all trained `tensors`, so that their training can resume exactly. */
  hasMomentsOf(tensors: readonly Pick<StateTensor, 'name' | 'parts'>[]): boolean {
    return tensors
      .filter(isTrainedTensor)
      .every(
        ({ name, parts }) => this.#tables.m?.has(name) === true && this.hasSecondMoment(name) === parts.includes('v'),
      );
  }

  /**
   * Float32 little-endian bytes of the named tensors: the model's (`model`: the average, if the run has one), the weights with which
   * training continues (`weights`, the same without an average), or moments. Dense, in the given order, in chunks of at most 4 MiB that may end
   * inside a tensor but never inside a number. Float16 and bfloat16 weights are widened.
   * @throws UserError when the file has changed since it was verified
   */
  async *stream(part: StatePart, inOrder: readonly string[]): AsyncGenerator<Uint8Array, void, undefined> {
    const table = part === 'weights' ? this.#weights : this.#tables[part];
    if (table === undefined && part === 'scaling') {
      // The run had none: it begins now.
      if (inOrder.length > 0) yield new Uint8Array(encodeScaling(initialScaling).buffer);
      return;
    }
    if (table === undefined) throw new UserError(`${this.path} has no optimizer state: a run cannot resume from it`);
    const handles = new Map<string, StoredFile>();
    try {
      for (const name of inOrder) {
        const entry = table.get(name);
        if (entry === undefined) throw new InvariantError(`${this.path} has no tensor ${name} for part ${part}`);
        if (entry.parts.length === 0) yield new Uint8Array(fixedTable(entry.shape).buffer);
        for (const each of entry.parts) {
          const path = fromFolder(this.path, each.file);
          const handle = handles.get(path) ?? (await openStored(path));
          handles.set(path, handle);
          yield* readTensor(handle, each);
        }
      }
    } finally {
      for (const handle of handles.values()) await handle.close();
    }
  }

  /** Weights of frozen parameters, and all of a run without an average, are in the model file. */
  get #weights(): TensorTable {
    return new Map([...(this.#tables.model ?? []), ...(this.#tables.weights ?? [])]);
  }

  /** @internal The parameters and their absolute files. */
  get placedTensors(): TensorTable {
    const params = [...(this.#tables.model ?? [])];
    const placed = (each: PlacedTensor) => ({ ...each, file: fromFolder(this.path, each.file) });
    return new Map(params.map(([name, { shape, parts }]) => [name, { shape, parts: parts.map(placed) }]));
  }

  /** The files that hold the parameters, absolute. */
  get weightFiles(): readonly string[] {
    const parts = [...(this.#tables.model?.values() ?? [])].flatMap((each) => each.parts);
    const names = new Set(parts.map(({ file }) => file));
    return [...names].sort().map((name) => fromFolder(this.path, name));
  }
}
