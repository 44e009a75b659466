/**
 * The state of a replica between two steps: which tensors of which blocks (parameterBlocks.ts) it consists of. base/stateParts.ts has the
 * parts and their order.
 */
import { partsOf, type StatePart, type StateTensor, scalingTensor, stateParts } from '../base/stateParts.ts';
import type { TensorGroup } from '../engine/tensor.ts';
import type { ParameterBlock, ParameterBlocks } from './parameterBlocks.ts';

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

/** The parts of each parameter, in the order of `specs`; the scaling of the loss follows, if there is one. */
export function stateTensorsOf(blocks: ParameterBlocks): readonly StateTensor[] {
  const averaged = blocks.average !== undefined;
  const tensors: StateTensor[] = blocks.specs.map(({ name, shape }, i) => {
    const trained = i < blocks.trained.length;
    return { name, shape, parts: partsOf({ trained, averaged, muon: trained && blocks.isMuon(i) }) };
  });
  return blocks.lossScaling === undefined ? tensors : [...tensors, scalingTensor];
}

/** The groups that hold the state, in the order of `stateParts`. */
export function stateGroupsOf(blocks: ParameterBlocks): readonly TensorGroup[] {
  const { average, values, lossScaling } = blocks;
  const weights = average === undefined ? [] : [values];
  return [
    ...blocks.withFrozen(average ?? values),
    ...weights,
    blocks.training('m'),
    blocks.training('v'),
    ...(lossScaling === undefined ? [] : [lossScaling.group]),
  ];
}

/** The tensors of the state, part after part. */
export function* stateEntriesOf(blocks: ParameterBlocks): Generator<StateEntry> {
  const blockOf = {
    model: blocks.average === undefined ? 'params' : 'average',
    weights: 'params',
    m: 'm',
    v: 'v',
  } as const;
  const tensors = stateTensorsOf(blocks);
  for (const part of stateParts) {
    for (const [index, { parts, name }] of tensors.entries()) {
      if (!parts.includes(part)) continue;
      if (part === 'scaling') yield { part, block: part, index: 0, name };
      else yield { part, block: index < blocks.trained.length ? blockOf[part] : 'params', index, name };
    }
  }
}
