/**
 * A model's parameters on an engine: values, and for training their gradients and AdamW's moments, each in one block, all
 * in one order (parameterOrder.ts). It fills, reads and writes them; what they mean is the model's affair.
 */
import type { ParameterSpec } from '../architecture/parameters.ts';
import { type RandomKey, randomKey } from '../base/counterRandom.ts';
import { invariant } from '../base/errors.ts';
import type { StatePart } from '../base/stateParts.ts';
import type { Engine, Tensor, TensorGroup } from '../engine/engine.ts';
import { fillNormal } from './normalStream.ts';

/** One parameter as the tape sees it: a value, and where its gradient is accumulated (absent outside training). */
export interface Parameter {
  /** Position in the order of the parameters. */
  readonly index: number;
  /** As in {@link ParameterSpec}. */
  readonly name: string;
  /** On the device. */
  readonly value: Tensor;
  /** Its gradient, which is accumulated; undefined outside training. */
  readonly grad: Tensor | undefined;
}

/** All parameters of a model, with their gradients and AdamW's moments where it is trained. */
export class Parameters {
  /** Names, shapes and initial values, in the order of everything here. */
  readonly specs: readonly ParameterSpec[];
  /** Each with its tensors. */
  readonly list: readonly Parameter[];
  /** Numbers in all parameters together, without the engine's padding. */
  readonly count: number;
  readonly #engine: Engine;
  readonly #groups: { params: TensorGroup; grads?: TensorGroup; m?: TensorGroup; v?: TensorGroup };
  readonly #indexOf: ReadonlyMap<string, number>;

  /**
   * Allocates everything in the order of `specs`, zero-filled; gradients and moments only for `training`. They live as long as the
   * engine.
   */
  constructor(engine: Engine, specs: readonly ParameterSpec[], options: { training: boolean }) {
    this.#engine = engine;
    this.specs = specs;
    this.count = this.specs.reduce((sum, spec) => sum + spec.size, 0);
    this.#indexOf = new Map(this.specs.map((spec, index) => [spec.name, index]));
    const shapes = this.specs.map((spec) => spec.shape);
    const allocate = (): TensorGroup => engine.allocGroup(shapes);
    this.#groups = options.training
      ? { params: allocate(), grads: allocate(), m: allocate(), v: allocate() }
      : { params: allocate() };
    this.list = this.specs.map(({ name }, index) => ({
      index,
      name,
      value: this.values.tensors[index]!,
      grad: this.#groups.grads?.tensors[index],
    }));
  }

  /** The values, in one block. */
  get values(): TensorGroup {
    return this.#groups.params;
  }

  /** The gradients, in one block. InvariantError outside training. */
  get grads(): TensorGroup {
    return this.#trainingGroup('grads');
  }

  /** First moments of AdamW. */
  get m(): TensorGroup {
    return this.#trainingGroup('m');
  }

  /** Second moments of AdamW. */
  get v(): TensorGroup {
    return this.#trainingGroup('v');
  }

  #trainingGroup(name: 'grads' | 'm' | 'v'): TensorGroup {
    const group = this.#groups[name];
    invariant(group !== undefined, `${name} exist only for training`);
    return group;
  }

  /** Position of a parameter in `specs`; InvariantError if there is none of that name. */
  indexOf(name: string): number {
    const index = this.#indexOf.get(name);
    invariant(index !== undefined, `the model has no parameter named ${name}`);
    return index;
  }

  /** The parameter of that name; InvariantError if there is none. */
  get(name: string): Parameter {
    return this.list[this.indexOf(name)]!;
  }

  /**
   * Initial values: a pure function of the seed, bit for bit, on every machine and engine. Each tensor has its own
   * random stream, found by its name.
   */
  initialise(seed: number): void {
    for (const [index, { name, init }] of this.specs.entries()) {
      const numbers = this.hostTensor('params', index);
      if ('constant' in init) numbers.fill(init.constant);
      else fillNormal(numbers, streamKey(seed, name), init.std);
      this.writeTensor('params', index, numbers);
    }
  }

  /** Copies one tensor out; `into` has its size. */
  async readTensor(part: StatePart | 'grads', index: number, into: Float32Array): Promise<void> {
    await this.#engine.download(this.#group(part).tensors[index]!, into);
  }

  /** Host memory for one tensor, to be filled for `writeTensor`: the tensor's own where the device's memory is the host's. */
  hostTensor(part: StatePart | 'grads', index: number): Float32Array {
    const group = this.#group(part);
    const from = group.offsets[index]!;
    return this.#engine.hostRange(group, from, from + this.specs[index]!.size);
  }

  /** Overwrites one tensor; `data` has its size. */
  writeTensor(part: StatePart | 'grads', index: number, data: Float32Array): void {
    this.#engine.upload(this.#group(part).tensors[index]!, data);
  }

  /** Copies a whole part out, tensor after tensor in the order of `specs`, unpadded: `into` has `count` elements. */
  async exportState(part: StatePart | 'grads', into: Float32Array): Promise<void> {
    this.#checkLength(into);
    let start = 0;
    for (const [index, { size }] of this.specs.entries()) {
      await this.readTensor(part, index, into.subarray(start, start + size));
      start += size;
    }
  }

  /** The inverse of `exportState`. */
  importState(part: StatePart | 'grads', from: Float32Array): void {
    this.#checkLength(from);
    let start = 0;
    for (const [index, { size }] of this.specs.entries()) {
      this.writeTensor(part, index, from.subarray(start, start + size));
      start += size;
    }
  }

  #group(part: StatePart | 'grads'): TensorGroup {
    return part === 'params' ? this.values : this.#trainingGroup(part);
  }

  #checkLength(array: Float32Array): void {
    invariant(array.length === this.count, `expected ${this.count} numbers, got ${array.length}`);
  }
}

/** The random stream of one tensor. */
function streamKey(seed: number, name: string): RandomKey {
  return randomKey(seed, ...Array.from(name, (character) => character.charCodeAt(0)));
}
