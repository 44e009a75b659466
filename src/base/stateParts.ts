/** The state of a replica between two steps: its parts, in the order of files and streams, and the tensors of each. */

/**
 * What a tensor may have: `model`, what others read from a checkpoint: its value, or the average of its values (`optimizer.ema`);
 * `weights`, beside an average: the value itself, with which training continues; `m`, AdamW's first moment or Muon's momentum; `v`,
 * AdamW's second moment; and `scaling`, that of the loss (lossScaling.ts), which belongs to no parameter.
 */
export const stateParts = ['model', 'weights', 'm', 'v', 'scaling'] as const;

/** One of them. */
export type StatePart = (typeof stateParts)[number];

/** A parameter, on which all holders of a state must agree; or the scaling of the loss. */
export interface StateTensor {
  /** The name in checkpoints. */
  readonly name: string;
  /** The shape in checkpoints. */
  readonly shape: readonly number[];
  /** Its parts, in the order of `stateParts`; only `model` if it is frozen. */
  readonly parts: readonly StatePart[];
}

/** The scaling of the loss, in runs that compute products of float16 numbers. */
export const scalingTensor: StateTensor = { name: 'lossScale', shape: [3], parts: ['scaling'] };

/**
 * The parts of a parameter: a frozen one keeps its value.
 * @param options `averaged`: the run averages the values of trained parameters; `muon`: Muon updates this one
 */
export function partsOf({
  trained,
  averaged = false,
  muon = false,
}: {
  trained: boolean;
  averaged?: boolean;
  muon?: boolean;
}): readonly StatePart[] {
  if (!trained) return ['model'];
  const isPresent = { model: true, weights: averaged, m: true, v: !muon, scaling: false };
  return stateParts.filter((part) => isPresent[part]);
}

/** Whether it has a gradient and is updated; otherwise it is frozen. */
export function isTrainedTensor({ parts }: Pick<StateTensor, 'parts'>): boolean {
  return parts.includes('m');
}

/** Whether Muon updates it. */
export function isUpdatedByMuon({ parts }: Pick<StateTensor, 'parts'>): boolean {
  return parts.includes('m') && !parts.includes('v');
}

/** The tensors that have this part, in the same order. */
export function tensorsOf<T extends Pick<StateTensor, 'parts'>>(part: StatePart, tensors: readonly T[]): readonly T[] {
  return tensors.filter(({ parts }) => parts.includes(part));
}

/**
 * The part of a checkpoint that becomes this part of a run's state. A run without an average continues from the weights of a checkpoint,
 * not from their average.
 */
export function sourceOf(part: StatePart, tensors: readonly Pick<StateTensor, 'parts'>[]): StatePart {
  return part === 'model' && tensorsOf('weights', tensors).length === 0 ? 'weights' : part;
}
