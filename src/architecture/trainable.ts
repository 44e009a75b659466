/**
 * Selects the parameters that a run trains, by name or by their place in the network: the key `train.trainable`. It needs only the
 * config, not an engine.
 */
import { partsOf, type StateTensor } from '../base/stateParts.ts';
import type { IsTrained, ParameterSpec } from './parameters.ts';
import { type ModelConfig, networkOf } from './registry.ts';

/** One or more selections: `all`, `head`, `lora`, `lastBlocks:N`, or a pattern of names in which `*` stands for any characters. */
export type Trainable = string | readonly string[];

/** Whether a parameter has a gradient and moments: a selection includes it, and the architecture does not freeze it. */
export function isTrainedBy(trainable: Trainable): IsTrained {
  const selections = [trainable].flat().map(selectionOf);
  return (spec) => spec.trainable !== false && selections.some((includes) => includes(spec));
}

const LAST_BLOCKS = /^lastBlocks:([1-9]\d{0,8})$/;

function selectionOf(selection: string): IsTrained {
  if (selection === 'all') return ({ trainable = true }) => trainable === true;
  if (selection === 'lora') return ({ isAdapter = false }) => isAdapter;
  if (selection === 'head') return ({ isHead = false }) => isHead;
  const blocks = LAST_BLOCKS.exec(selection)?.[1];
  if (blocks !== undefined) return ({ fromEnd = Number.POSITIVE_INFINITY }) => fromEnd <= Number(blocks);
  return ({ name }) => matches(selection, name);
}

/** The parameters of a model and their parts in the state of a run, in the order of their declaration. */
export function declaredTensors(
  model: ModelConfig,
  trainable: Trainable,
  { ema = 0, kind = 'adamw' }: { readonly ema?: number; readonly kind?: OptimizerKind } = {},
): StateTensor[] {
  const isTrained = isTrainedBy(trainable);
  const parts = (spec: ParameterSpec) =>
    partsOf({ trained: isTrained(spec), averaged: ema > 0, muon: kind === 'muon' && isMuonMatrix(spec) });
  return networkOf(model).specs.map((spec) => ({ name: spec.name, shape: spec.shape, parts: parts(spec) }));
}

/** Which optimizer updates the matrices inside of blocks; AdamW updates all others. */
export type OptimizerKind = 'adamw' | 'muon';

/** Whether Muon may update this parameter: the weight of a linear layer inside of a block. */
export function isMuonMatrix({ matrices }: ParameterSpec): boolean {
  return matrices !== undefined;
}

/** Number of elements in the trained parameters. */
export function trainedCount(model: ModelConfig, trainable: Trainable): number {
  const trained = networkOf(model).specs.filter(isTrainedBy(trainable));
  return trained.reduce((sum, { size }) => sum + size, 0);
}

/** Describes the problem of the selections for these parameters in one sentence; undefined if they are valid. */
export function trainableProblem(trainable: Trainable, specs: readonly ParameterSpec[]): string | undefined {
  for (const selection of [trainable].flat()) {
    const problem = selectionProblem(selection, specs);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function selectionProblem(selection: string, specs: readonly ParameterSpec[]): string | undefined {
  if (selection.startsWith('lastBlocks')) {
    const blocks = Math.max(0, ...specs.map(({ fromEnd = 0 }) => fromEnd));
    const asked = Number(LAST_BLOCKS.exec(selection)?.[1]);
    if (asked <= blocks) return undefined;
    return `${selection} expects a number of blocks from 1 to ${blocks}, as in lastBlocks:1`;
  }
  if (specs.some(isTrainedBy([selection]))) return undefined;
  if (selection === 'head') {
    return 'head selects nothing, because the output is computed from a weight that is not only the head: name that weight instead';
  }
  if (selection === 'lora') return 'lora selects nothing, because model.loraRank is 0: set it, for example to 8';
  const names = specs.filter(isTrainedBy('*')).map(({ name }) => name);
  const some = names.slice(0, namesShown).join(', ');
  return `${selection} is the name of none that can be trained; there are ${some}${names.length > namesShown ? ', …' : ''}`;
}

const namesShown = 6;

/** Whether the pattern, in which `*` stands for any characters, matches the complete name. */
function matches(pattern: string, name: string): boolean {
  const [first = '', ...others] = pattern.split('*');
  const last = others.pop();
  if (last === undefined) return name === pattern;
  let at = first.length;
  for (const part of others) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return name.startsWith(first) && name.endsWith(last) && at + last.length <= name.length;
}
