/**
 * The memory of a model's parameters: blocks of values, gradients, moments and averages, and the place of each parameter's tensors in
 * them. Trained parameters come first; frozen ones have only values, in a block of their own. It does not know what the numbers are:
 * parameterStore.ts fills, reads and writes them.
 */
import type { IsTrained, ParameterSpec } from '../architecture/parameters.ts';
import { isMuonMatrix, isTrainedBy } from '../architecture/trainable.ts';
import { invariant } from '../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../base/optionNames.ts';
import type { Engine } from '../engine/engine.ts';
import type { Tensor, TensorGroup } from '../engine/tensor.ts';
import { LossScaling } from './lossScaling.ts';

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

const optionNames = {
  training: true,
  isTrained: true,
  averaged: true,
  muon: true,
  scaled: true,
} satisfies OptionNames<ParametersOptions>;

/** A block of numbers for the parameters; `scaling` has only those of the loss. */
export type ParameterBlock = 'params' | 'grads' | 'm' | 'v' | 'average' | 'scaling';

/** The blocks that only training has. */
type TrainingBlock = Exclude<ParameterBlock, 'params' | 'scaling'>;

export class ParameterBlocks {
  /** The trained parameters, then the others. */
  readonly specs: readonly ParameterSpec[];
  /** Outside training: all. */
  readonly trained: readonly ParameterSpec[];
  /** Undefined if the run has none. */
  readonly lossScaling: LossScaling | undefined;
  /** The values of the trained parameters. */
  readonly values: TensorGroup;
  readonly #training: Partial<Record<TrainingBlock, TensorGroup>>;
  /** The values of the other parameters, in the order of `specs`. */
  readonly #frozen: TensorGroup | undefined;
  /** For each trained parameter its index in `v`; undefined for the matrices of Muon. */
  readonly #indexOfV: readonly (number | undefined)[];

  /** Allocates everything in the order of `specs`, zero-filled; see `Parameters`. */
  constructor(engine: Engine, specs: readonly ParameterSpec[], options: ParametersOptions) {
    checkOptionNames('Parameters', options, optionNames);
    const isTrained: IsTrained = options.isTrained ?? isTrainedBy('all');
    const [trained, frozen] = partition(specs, (spec) => !options.training || isTrained(spec));
    invariant(trained.length > 0, 'expected at least one parameter that is trained');
    this.trained = trained;
    this.specs = [...trained, ...frozen];
    const shapesOf = (some: readonly ParameterSpec[]) => some.map(({ shape }) => shape);
    const allocate = (): TensorGroup => engine.allocGroup(shapesOf(trained));
    let withV = 0;
    this.#indexOfV = trained.map((spec) => (options.muon === true && isMuonMatrix(spec) ? undefined : withV++));
    this.values = allocate();
    this.#training = options.training
      ? {
          grads: allocate(),
          m: allocate(),
          v: engine.allocGroup(shapesOf(trained.filter((_, i) => !this.isMuon(i)))),
          ...(options.averaged === true && { average: allocate() }),
        }
      : {};
    this.lossScaling = options.training && options.scaled === true ? new LossScaling(engine) : undefined;
    this.#frozen = frozen.length > 0 ? engine.allocGroup(shapesOf(frozen)) : undefined;
  }

  /** Undefined if the run has none. */
  get average(): TensorGroup | undefined {
    return this.#training.average;
  }

  /** A block that only training has. InvariantError if it is absent. */
  training(name: TrainingBlock): TensorGroup {
    const group = this.#training[name];
    invariant(
      group !== undefined,
      name === 'average' ? 'these parameters have no average' : `${name} exist only for training`,
    );
    return group;
  }

  /** With the values of frozen parameters, if any. */
  withFrozen(trained: TensorGroup): readonly TensorGroup[] {
    return this.#frozen === undefined ? [trained] : [trained, this.#frozen];
  }

  /** Whether Muon updates this trained parameter. */
  isMuon(index: number): boolean {
    return this.#indexOfV[index] === undefined;
  }

  /** The indices of the trained parameters by the optimizer that updates them. */
  get updatedBy(): { readonly adamw: readonly number[]; readonly muon: readonly number[] } {
    const [muon, adamw] = partition([...this.trained.keys()], (i) => this.isMuon(i));
    return { adamw, muon };
  }

  /** The parameters that have a tensor in the block. */
  indicesOf(block: ParameterBlock): readonly number[] {
    if (block === 'v') return this.updatedBy.adamw;
    return (block === 'params' ? this.specs : this.trained).map((_, i) => i);
  }

  tensor(block: ParameterBlock, index: number): Tensor {
    const [group, at] = this.place(block, index);
    return group.tensors[at]!;
  }

  /** The location of a parameter's tensor. InvariantError if it has none in this block. */
  place(block: ParameterBlock, index: number): [group: TensorGroup, index: number] {
    if (block === 'scaling') {
      invariant(this.lossScaling !== undefined, 'these parameters have no scaling');
      return [this.lossScaling.group, 0];
    }
    const { length } = this.trained;
    if (index < length) {
      const at = block === 'v' ? this.#indexOfV[index] : index;
      invariant(at !== undefined, `Muon updates parameter ${this.specs[index]!.name}, so it has no v`);
      return [block === 'params' ? this.values : this.training(block), at];
    }
    const name = this.specs[index]?.name;
    invariant(block === 'params' && this.#frozen !== undefined, `parameter ${name ?? index} has no ${block}`);
    return [this.#frozen, index - length];
  }
}

function partition<T>(values: readonly T[], isFirst: (value: T) => boolean): [first: T[], second: T[]] {
  return [values.filter(isFirst), values.filter((value) => !isFirst(value))];
}
