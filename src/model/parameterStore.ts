/**
 * A model's parameters on an engine: values, and for training their gradients, AdamW's moments and averages, each in one block, all
 * in the same order (parameterOrder.ts). The store fills, reads and writes them; the model defines their meaning.
 */
import type { IsTrained, ParameterSpec } from '../architecture/parameters.ts';
import { fillSinusoidal } from '../architecture/sinusoidal.ts';
import { isMuonMatrix, isTrainedBy } from '../architecture/trainable.ts';
import { type RandomKey, randomKey } from '../base/counterRandom.ts';
import { invariant } from '../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../base/optionNames.ts';
import { partsOf, type StatePart, type StateTensor, scalingTensor, stateParts } from '../base/stateParts.ts';
import type { Engine } from '../engine/engine.ts';
import type { Shape, Tensor, TensorGroup } from '../engine/tensor.ts';
import { AdaptedWeight, scaledIdentity } from './adaptedWeight.ts';
import { LossScaling } from './lossScaling.ts';
import { fillNormal } from './normalRandom.ts';

/** What is allocated besides the values. */
export interface ParametersOptions {
  /** Gradients and moments too. */
  readonly training: boolean;
  /** Which parameters have them. Default: what `trainable` of each spec says. */
  readonly isTrained?: IsTrained | undefined;
  /** Averages of the trained values too. Default false. */
  readonly averaged?: boolean | undefined;
  /** Matrices inside of blocks have a momentum, but no second moment. Default false. */
  readonly muon?: boolean | undefined;
  /** The scaling of the loss too. Default false. */
  readonly scaled?: boolean | undefined;
}

/** A block of numbers for the parameters; `scaling` has only those of the loss. */
export type ParameterBlock = 'params' | 'grads' | 'm' | 'v' | 'average' | 'scaling';

const optionNames = {
  training: true,
  isTrained: true,
  averaged: true,
  muon: true,
  scaled: true,
} satisfies OptionNames<ParametersOptions>;

/** A tensor of a replica's state: the part that it is, the block that has it, and the index of its parameter. */
export interface StateEntry {
  /** What the tensor is to its parameter. */
  readonly part: StatePart;
  /** The block that holds it. */
  readonly block: ParameterBlock;
  /** The index of its parameter; 0 for the scaling of the loss. */
  readonly index: number;
  /** The name of its parameter, or `lossScale`. */
  readonly name: string;
}

/** One parameter for the tape: a value, and the tensor that accumulates its gradient (absent outside training). */
export interface Parameter {
  /** Position in the order of the parameters. */
  readonly index: number;
  /** As in {@link ParameterSpec}. */
  readonly name: string;
  /** On the device. */
  readonly value: Tensor;
  /** Its accumulated gradient; undefined if it is frozen, and outside training. */
  readonly grad: Tensor | undefined;
  /** @internal The matrix that replaces `value` in computations; undefined without an adapter. */
  readonly adapted?: AdaptedWeight<Parameter> | undefined;
}

/** What a model reads of its parameters. */
export interface ModelParameters {
  /** The parameter with this name; InvariantError if the name is unknown. */
  get(name: string): Parameter;
  /** A table of constants, which `numbers` computes at its first use; equal names mean equal numbers. */
  constant(name: string, shape: Shape, numbers: () => Float32Array): Tensor;
  /** Brings the matrices of adapted weights up to date, if values have changed. */
  refresh(): void;
}

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
  readonly #groups: { readonly params: TensorGroup } & Partial<Record<ParameterBlock, TensorGroup>>;
  /** The values of the other parameters, in the order of `specs`. */
  readonly #frozen: TensorGroup | undefined;
  readonly #list: { -readonly [K in keyof Parameter]: Parameter[K] }[];
  readonly #indexOf: ReadonlyMap<string, number>;
  /** For each trained parameter its index in `v`; undefined for the matrices of Muon. */
  readonly #indexOfV: readonly (number | undefined)[];
  readonly #adapted: readonly AdaptedWeight<Parameter>[];
  /** Matrices that follow from the values: those of adapted weights, and their factors. */
  readonly #derived: TensorGroup | undefined;
  #isDerivedStale = true;
  readonly #constants = new Map<string, Tensor>();

  /**
   * Allocates everything in the order of `specs`, zero-filled; gradients and moments only for `training`, and only for parameters selected by
   * `isTrained` (default: `trainable` of each spec), which come first. They live as long as the engine.
   */
  constructor(engine: Engine, specs: readonly ParameterSpec[], options: ParametersOptions) {
    checkOptionNames('Parameters', options, optionNames);
    this.#engine = engine;
    const isTrained: IsTrained = options.isTrained ?? isTrainedBy('all');
    const [trained, frozen] = partition(specs, (spec) => !options.training || isTrained(spec));
    invariant(trained.length > 0, 'expected at least one parameter that is trained');
    this.trained = trained;
    this.specs = [...trained, ...frozen];
    this.count = sizeOf(this.specs);
    this.#indexOf = new Map(this.specs.map((spec, index) => [spec.name, index]));
    const shapesOf = (some: readonly ParameterSpec[]) => some.map(({ shape }) => shape);
    const allocate = (): TensorGroup => engine.allocGroup(shapesOf(this.trained));
    let withV = 0;
    this.#indexOfV = trained.map((spec) => (options.muon === true && isMuonMatrix(spec) ? undefined : withV++));
    this.#groups = options.training
      ? {
          params: allocate(),
          grads: allocate(),
          m: allocate(),
          v: engine.allocGroup(shapesOf(trained.filter((_, i) => this.#indexOfV[i] !== undefined))),
          ...(options.averaged === true && { average: allocate() }),
        }
      : { params: allocate() };
    this.lossScaling = options.training && options.scaled === true ? new LossScaling(engine) : undefined;
    this.#frozen = frozen.length > 0 ? engine.allocGroup(shapesOf(frozen)) : undefined;
    const list = this.specs.map(({ name }, index) => ({
      index,
      name,
      value: this.#tensor('params', index),
      grad: this.#groups.grads?.tensors[index],
      adapted: undefined as AdaptedWeight<Parameter> | undefined,
    }));
    this.#list = list;
    const adapted = this.specs.flatMap(({ adapter }, index) => (adapter === undefined ? [] : [{ adapter, index }]));
    if (adapted.length > 0) {
      const shapes = adapted.map(({ adapter: { a, b }, index }) => {
        const [rank, outputs] = [a.shape[0]!, b.shape[0]!];
        return [this.specs[index]!.shape, [rank, outputs], [rank, rank]];
      });
      this.#derived = engine.allocGroup(shapes.flat());
      const { tensors } = this.#derived;
      for (const [i, { adapter, index }] of adapted.entries()) {
        const [effective, scaledB, identity] = tensors.slice(3 * i) as [Tensor, Tensor, Tensor];
        engine.upload(identity, scaledIdentity(identity.shape[0]!, adapter.scale));
        const [a, b] = [this.get(adapter.a.name), this.get(adapter.b.name)];
        const weight = list[index]!;
        weight.adapted = new AdaptedWeight(engine, a, b, {
          get weight() {
            return weight.value;
          },
          weightTransposed: adapter.weightTransposed ?? false,
          effective,
          scaledB,
          scaledIdentity: identity,
        });
      }
    }
    this.#adapted = list.flatMap(({ adapted: each }) => each ?? []);
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
    return 4 * (this.#derived?.length ?? 0);
  }

  /** Values were written without a method of this class: what follows from them is computed again before its next use. */
  valuesChanged(): void {
    this.#isDerivedStale = true;
    this.lossScaling?.reload();
  }

  /** Brings the matrices of adapted weights up to date, if values have changed. Call it before their use; a model does. */
  refresh(): void {
    if (!this.#isDerivedStale) return;
    for (const each of this.#adapted) each.rebuild();
    this.#isDerivedStale = false;
  }

  /** The values of the trained parameters, in one block as long as `grads` and `m`. Outside training: all values. */
  get values(): TensorGroup {
    return this.#groups.params;
  }

  /** The gradients, in one block. InvariantError outside training. */
  get grads(): TensorGroup {
    return this.#trainingGroup('grads');
  }

  /** First moments of AdamW, and the momenta of Muon. */
  get m(): TensorGroup {
    return this.#trainingGroup('m');
  }

  /** Second moments of AdamW, of the parameters that it updates. */
  get v(): TensorGroup {
    return this.#trainingGroup('v');
  }

  /** Averages of the values of trained parameters; undefined if the run has none. */
  get average(): TensorGroup | undefined {
    return this.#groups.average;
  }

  /** All values, in the order of `specs`: those of trained parameters, and those of frozen ones, if any. */
  get allValues(): readonly TensorGroup[] {
    return this.#with(this.values);
  }

  /** The parts of each parameter in the state of a replica, in the order of `specs`; the scaling of the loss follows, if there is one. */
  get stateTensors(): readonly StateTensor[] {
    const averaged = this.average !== undefined;
    const tensors: StateTensor[] = this.specs.map(({ name, shape }, i) => {
      const trained = i < this.trained.length;
      const parts = partsOf({ trained, averaged, muon: trained && this.#indexOfV[i] === undefined });
      return { name, shape, parts };
    });
    return this.lossScaling === undefined ? tensors : [...tensors, scalingTensor];
  }

  /** The state of a replica between two steps, in the order of `stateParts`. */
  get state(): readonly TensorGroup[] {
    const { average, values, lossScaling } = this;
    const weights = average === undefined ? [] : [values];
    return [
      ...this.#with(average ?? values),
      ...weights,
      this.m,
      this.v,
      ...(lossScaling === undefined ? [] : [lossScaling.group]),
    ];
  }

  /** The indices of the trained parameters by the optimizer that updates them. */
  get updatedBy(): {
    /** Those of AdamW. */
    readonly adamw: readonly number[];
    /** Those of Muon: the matrices of blocks. */
    readonly muon: readonly number[];
  } {
    const all = this.trained.map((_, i) => i);
    const isAdamw = (i: number) => this.#indexOfV[i] !== undefined;
    return { adamw: all.filter(isAdamw), muon: all.filter((i) => !isAdamw(i)) };
  }

  /** The parameters that have these numbers, in the order of `specs`. */
  specsOf(block: ParameterBlock): readonly ParameterSpec[] {
    return this.#indicesOf(block).map((index) => this.specs[index]!);
  }

  #indicesOf(block: ParameterBlock): readonly number[] {
    if (block === 'v') return this.updatedBy.adamw;
    return (block === 'params' ? this.specs : this.trained).map((_, i) => i);
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

  /** With the values of frozen parameters, if any. */
  #with(trained: TensorGroup): readonly TensorGroup[] {
    return this.#frozen === undefined ? [trained] : [trained, this.#frozen];
  }

  #trainingGroup(name: Exclude<ParameterBlock, 'params' | 'scaling'>): TensorGroup {
    const group = this.#groups[name];
    invariant(
      group !== undefined,
      name === 'average' ? 'these parameters have no average' : `${name} exist only for training`,
    );
    return group;
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
    const blocks = {
      model: this.average === undefined ? 'params' : 'average',
      weights: 'params',
      m: 'm',
      v: 'v',
    } as const;
    const tensors = this.stateTensors;
    for (const part of stateParts) {
      for (const [index, { parts, name }] of tensors.entries()) {
        if (!parts.includes(part)) continue;
        if (part === 'scaling') yield { part, block: part, index: 0, name };
        else yield { part, block: index < this.trained.length ? blocks[part] : 'params', index, name };
      }
    }
  }

  /** Number of elements of one tensor. */
  sizeOf(block: ParameterBlock, index: number): number {
    return this.#tensor(block, index).size;
  }

  /** Copies one tensor out; `into` has its size. */
  async readTensor(block: ParameterBlock, index: number, into: Float32Array): Promise<void> {
    await this.#engine.download(this.#tensor(block, index), into);
  }

  /** Copies out what the model computes with: the value of a parameter, or with an adapter the matrix to which that is added. */
  async readMerged(index: number, into: Float32Array): Promise<void> {
    this.refresh();
    const { adapted, value } = this.list[index]!;
    await this.#engine.download(adapted?.effective ?? value, into);
  }

  /** Host memory for one tensor, to be filled for `writeTensor`: the tensor's own if the device uses the host's memory. */
  hostTensor(block: ParameterBlock, index: number): Float32Array {
    const [group, at] = this.#place(block, index);
    const from = group.offsets[at]!;
    return this.#engine.hostRange(group, from, from + group.tensors[at]!.size);
  }

  /** Overwrites one tensor; `data` has its size. */
  writeTensor(block: ParameterBlock, index: number, data: Float32Array): void {
    this.#engine.upload(this.#tensor(block, index), data);
    if (block === 'params' || block === 'scaling') this.valuesChanged();
  }

  /** Copies a complete block out, tensor after tensor in the order of `specs`, unpadded: `into` has as many elements. */
  async exportState(block: ParameterBlock, into: Float32Array): Promise<void> {
    this.#checkLength(block, into);
    let start = 0;
    for (const index of this.#indicesOf(block)) {
      const { size } = this.specs[index]!;
      await this.readTensor(block, index, into.subarray(start, start + size));
      start += size;
    }
  }

  /** The inverse of `exportState`. */
  importState(block: ParameterBlock, from: Float32Array): void {
    this.#checkLength(block, from);
    let start = 0;
    for (const index of this.#indicesOf(block)) {
      const { size } = this.specs[index]!;
      this.writeTensor(block, index, from.subarray(start, start + size));
      start += size;
    }
  }

  #tensor(block: ParameterBlock, index: number): Tensor {
    const [group, at] = this.#place(block, index);
    return group.tensors[at]!;
  }

  /** The location of a parameter's tensor. */
  #place(block: ParameterBlock, index: number): [group: TensorGroup, index: number] {
    if (block === 'scaling') {
      invariant(this.lossScaling !== undefined, 'these parameters have no scaling');
      return [this.lossScaling.group, 0];
    }
    const { length } = this.trained;
    if (index < length) {
      const at = block === 'v' ? this.#indexOfV[index] : index;
      invariant(at !== undefined, `Muon updates parameter ${this.specs[index]!.name}, so it has no v`);
      return [block === 'params' ? this.values : this.#trainingGroup(block), at];
    }
    const name = this.specs[index]?.name;
    invariant(block === 'params' && this.#frozen !== undefined, `parameter ${name ?? index} has no ${block}`);
    return [this.#frozen, index - length];
  }

  #checkLength(block: ParameterBlock, array: Float32Array): void {
    const count = sizeOf(this.specsOf(block));
    invariant(array.length === count, `expected ${count} numbers, received ${array.length}`);
  }
}

function partition<T>(values: readonly T[], isFirst: (value: T) => boolean): [first: T[], second: T[]] {
  return [values.filter(isFirst), values.filter((value) => !isFirst(value))];
}

function sizeOf(specs: readonly ParameterSpec[]): number {
  return specs.reduce((sum, { size }) => sum + size, 0);
}

/** Fills `into`, of the parameter's size, with its initial values. They do not depend on the other parameters. */
export function fillInitial(into: Float32Array, { name, shape, init }: ParameterSpec, seed: number): void {
  if ('constant' in init) into.fill(init.constant);
  else if ('sinusoidal' in init) fillSinusoidal(into, shape.at(-1)!);
  else fillNormal(into, streamKey(seed, name), init.std);
}

/** The random stream of one tensor. */
function streamKey(seed: number, name: string): RandomKey {
  return randomKey(seed, ...Array.from(name, (character) => character.charCodeAt(0)));
}
