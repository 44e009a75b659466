/** Selects the parameters that a run trains, by name: the key `train.trainable`. It needs only the config, not an engine. */
import type { StateTensor } from '../base/stateParts.ts';
import type { IsTrained, ParameterSpec } from './parameters.ts';
import { type ModelConfig, networkOf } from './registry.ts';

/** `all`, or patterns of names in which `*` stands for any characters. */
export type Trainable = string | readonly string[];

/** Whether a parameter has a gradient and moments: a pattern matches it, and the architecture does not freeze it. */
export function isTrainedBy(trainable: Trainable): IsTrained {
  const patterns = patternsOf(trainable);
  return ({ name, trainable: canBe = true }) => canBe && patterns.some((pattern) => matches(pattern, name));
}

/** The parameters of a model, in the order of their declaration. */
export function declaredTensors(model: ModelConfig, trainable: Trainable): StateTensor[] {
  const isTrained = isTrainedBy(trainable);
  return networkOf(model).specs.map((spec) => ({ name: spec.name, shape: spec.shape, trained: isTrained(spec) }));
}

/** Number of elements in the trained parameters. */
export function trainedCount(model: ModelConfig, trainable: Trainable): number {
  const trained = networkOf(model).specs.filter(isTrainedBy(trainable));
  return trained.reduce((sum, { size }) => sum + size, 0);
}

/** Describes the problem of the patterns for these parameters in one sentence; undefined if they are valid. */
export function trainableProblem(trainable: Trainable, specs: readonly ParameterSpec[]): string | undefined {
  const unused = patternsOf(trainable).find((pattern) => !specs.some(isTrainedBy([pattern])));
  if (unused === undefined) return undefined;
  const names = specs.filter(isTrainedBy('all')).map(({ name }) => name);
  const some = names.slice(0, namesShown).join(', ');
  return `${unused} is the name of none that can be trained; there are ${some}${names.length > namesShown ? ', …' : ''}`;
}

const namesShown = 6;

function patternsOf(trainable: Trainable): readonly string[] {
  return [trainable].flat().map((pattern) => (pattern === 'all' ? '*' : pattern));
}

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
