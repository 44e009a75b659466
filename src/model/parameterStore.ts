/**
 * A model's parameters on an engine: the store fills, reads and writes them. Their memory is in blocks (parameterBlocks.ts), all in the same
 * order (parameterOrder.ts), and the model defines their meaning.
 */
import type { ParameterSpec } from '../architecture/parameters.ts';
import { invariant } from '../base/errors.ts';
import type { StateTensor } from '../base/stateParts.ts';
import type { Engine } from '../engine/engine.ts';
import type { Shape, Tensor, TensorGroup } from '../engine/tensor.ts';
import { AdaptedWeights } from './adaptedWeights.ts';
import { fillInitial } from './initialValues.ts';
import type { LossScaling } from './lossScaling.ts';
import type { ModelParameters, Parameter, StoredParameter } from './parameter.ts';
import { type ParameterBlock, ParameterBlocks, type ParametersOptions } from './parameterBlocks.ts';
import { type StateEntry, stateEntriesOf, stateGroupsOf, stateTensorsOf } from './replicaState.ts';

/** All parameters of a model, with their gradients and AdamW's moments during training. */
export class Parameters implements ModelParameters {
  /** Names, shapes and initial values, in the order of everything here. */
  readonly specs: readonly ParameterSpec[];
  /** The trained parameters, which come first; only they have gradients and moments. Outside training: all parameters. */
  readonly trained: readonly ParameterSpec[];
  /** Every parameter with its tensors. */
  get list(): readonly Parameter[] {
    return this.#list;
  }
  /** Number of elements in all parameters, without the engine's padding. */
  readonly count: number;
  /** The scaling of the loss; undefined if the run has none. */
  readonly lossScaling: LossScaling | undefined;
  readonly #engine: Engine;
  readonly #blocks: ParameterBlocks;
  readonly #list: readonly StoredParameter[];
  readonly #indexOf: ReadonlyMap<string, number>;
  readonly #adapted: AdaptedWeights;
  readonly #constants = new Map<string, Tensor>();

  /**
   * Allocates everything in the order of `specs`, zero-filled; gradients and moments only for `training`, and only for parameters selected by
   * `isTrained` (default: `trainable` of each spec), which come first. They live as long as the engine.
   */
  constructor(engine: Engine, specs: readonly ParameterSpec[], options: ParametersOptions) {
    this.#engine = engine;
    const blocks = new ParameterBlocks(engine, specs, options);
    this.#blocks = blocks;
    this.specs = blocks.specs;
    this.trained = blocks.trained;
    this.lossScaling = blocks.lossScaling;
    this.count = sizeOf(this.specs);
    this.#indexOf = new Map(this.specs.map(({ name }, index) => [name, index]));
    this.#list = this.specs.map(({ name }, index) => ({
      index,
      name,
      value: blocks.tensor('params', index),
      grad: options.training && index < this.trained.length ? blocks.tensor('grads', index) : undefined,
      adapted: undefined,
    }));
    this.#adapted = new AdaptedWeights(engine, this.specs, this.#list, (name) => this.get(name));
  }

  /** A table of constants, which `numbers` computes at its first use; equal names mean equal numbers. It lives as long as the engine. */
  constant(name: string, shape: Shape, numbers: () => Float32Array): Tensor {
    const known = this.#constants.get(name);
    if (known !== undefined) return known;
    const values = numbers();
    const tensor = this.#engine.alloc(shape);
    try {
      this.#engine.upload(tensor, values);
    } catch (error) {
      this.#engine.release(tensor);
      throw error;
    }
    this.#constants.set(name, tensor);
    return tensor;
  }

  /** Memory of the matrices that follow from the values, such as those of adapted weights; in bytes. */
  get derivedBytes(): number {
    return this.#adapted.bytes;
  }

  /** Values were written without a method of this class: what follows from them is computed again before its next use. */
  valuesChanged(): void {
    this.#adapted.invalidate();
    this.lossScaling?.reload();
  }

  /** Brings the matrices of adapted weights up to date, if values have changed. Call it before their use; a model does. */
  refresh(): void {
    this.#adapted.refresh();
  }

  /** The values of the trained parameters, in one block as long as `grads` and `m`. Outside training: all values. */
  get values(): TensorGroup {
    return this.#blocks.values;
  }

  /** The gradients, in one block. InvariantError outside training. */
  get grads(): TensorGroup {
    return this.#blocks.training('grads');
  }

  /** First moments of AdamW, and the momenta of Muon. */
  get m(): TensorGroup {
    return this.#blocks.training('m');
  }

  /** Second moments of AdamW, of the parameters that it updates. */
  get v(): TensorGroup {
    return this.#blocks.training('v');
  }

  /** Averages of the values of trained parameters; undefined if the run has none. */
  get average(): TensorGroup | undefined {
    return this.#blocks.average;
  }

  /** All values, in the order of `specs`: those of trained parameters, and those of frozen ones, if any. */
  get allValues(): readonly TensorGroup[] {
    return this.#blocks.withFrozen(this.values);
  }

  /** The parts of each parameter in the state of a replica, in the order of `specs`; the scaling of the loss follows, if there is one. */
  get stateTensors(): readonly StateTensor[] {
    return stateTensorsOf(this.#blocks);
  }

  /** The state of a replica between two steps, in the order of `stateParts`. */
  get state(): readonly TensorGroup[] {
    return stateGroupsOf(this.#blocks);
  }

  /** The indices of the trained parameters by the optimizer that updates them. */
  get updatedBy(): {
    /** Those of AdamW. */
    readonly adamw: readonly number[];
    /** Those of Muon: the matrices of blocks. */
    readonly muon: readonly number[];
  } {
    return this.#blocks.updatedBy;
  }

  /** The parameters that have these numbers, in the order of `specs`. */
  specsOf(block: ParameterBlock): readonly ParameterSpec[] {
    return this.#blocks.indicesOf(block).map((index) => this.specs[index]!);
  }

  /**
   * Runs `work` on the model with the averages instead of the values, if there are averages. Nothing else may use the parameters until
   * it has ended.
   */
  async withAverage<T>(work: () => Promise<T>): Promise<T> {
    const { average } = this;
    if (average === undefined) return await work();
    this.#compute(average);
    try {
      return await work();
    } finally {
      this.#compute(this.values);
    }
  }

  /** Makes this group the values of trained parameters for the model. */
  #compute({ tensors }: TensorGroup): void {
    for (const [i, value] of tensors.entries()) this.#list[i]!.value = value;
    this.valuesChanged();
  }

  /** Position of a parameter in `specs`; InvariantError if the name is unknown. */
  indexOf(name: string): number {
    const index = this.#indexOf.get(name);
    invariant(index !== undefined, `the model has no parameter named ${name}`);
    return index;
  }

  /** The parameter with this name; InvariantError if the name is unknown. */
  get(name: string): Parameter {
    return this.list[this.indexOf(name)]!;
  }

  /**
   * Initial values: a pure function of the seed, bit for bit, on every machine and engine. Each tensor has its own
   * random stream, selected by its name. They are also the first averages.
   */
  initialise(seed: number): void {
    for (const [index, spec] of this.specs.entries()) {
      const numbers = this.hostTensor('params', index);
      fillInitial(numbers, spec, seed);
      this.writeTensor('params', index, numbers);
      if (this.average !== undefined && index < this.trained.length) this.writeTensor('average', index, numbers);
    }
    this.lossScaling?.initialise();
  }

  /** The tensors of the state, part after part. */
  *stateEntries(): Generator<StateEntry> {
    yield* stateEntriesOf(this.#blocks);
  }

  /** Number of elements of one tensor. */
  sizeOf(block: ParameterBlock, index: number): number {
    return this.#blocks.tensor(block, index).size;
  }

  /** Copies one tensor out; `into` has its size. */
  async readTensor(block: ParameterBlock, index: number, into: Float32Array): Promise<void> {
    await this.#engine.download(this.#blocks.tensor(block, index), into);
  }

  /** Copies out what the model computes with: the value of a parameter, or with an adapter the matrix to which that is added. */
  async readMerged(index: number, into: Float32Array): Promise<void> {
    this.refresh();
    const { adapted, value } = this.list[index]!;
    await this.#engine.download(adapted?.effective ?? value, into);
  }

  /** Host memory for one tensor, to be filled for `writeTensor`: the tensor's own if the device uses the host's memory. */
  hostTensor(block: ParameterBlock, index: number): Float32Array {
    const [group, at] = this.#blocks.place(block, index);
    const from = group.offsets[at]!;
    return this.#engine.hostRange(group, from, from + group.tensors[at]!.size);
  }

  /** Overwrites one tensor; `data` has its size. */
  writeTensor(block: ParameterBlock, index: number, data: Float32Array): void {
    this.#engine.upload(this.#blocks.tensor(block, index), data);
    if (block === 'params' || block === 'scaling') this.valuesChanged();
  }

  /** Copies a complete block out, tensor after tensor in the order of `specs`, unpadded: `into` has as many elements. */
  async exportState(block: ParameterBlock, into: Float32Array): Promise<void> {
    this.#checkLength(block, into);
    let start = 0;
    for (const index of this.#blocks.indicesOf(block)) {
      const { size } = this.specs[index]!;
      await this.readTensor(block, index, into.subarray(start, start + size));
      start += size;
    }
  }

  /** The inverse of `exportState`. */
  importState(block: ParameterBlock, from: Float32Array): void {
    this.#checkLength(block, from);
    let start = 0;
    for (const index of this.#blocks.indicesOf(block)) {
      const { size } = this.specs[index]!;
      this.writeTensor(block, index, from.subarray(start, start + size));
      start += size;
    }
  }

  #checkLength(block: ParameterBlock, array: Float32Array): void {
    const count = sizeOf(this.specsOf(block));
    invariant(array.length === count, `expected ${count} numbers, received ${array.length}`);
  }
}

function sizeOf(specs: readonly ParameterSpec[]): number {
  return specs.reduce((sum, { size }) => sum + size, 0);
}
