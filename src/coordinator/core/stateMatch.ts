/** Compares a worker's parameters with those the run trains, and their order with other workers' streams. Pure. */
import { isTrainedTensor, type StateTensor } from '../../base/stateParts.ts';

/** The first difference between a worker's parameters and the run's; undefined if there is none. */
export function unlikeDeclared(own: readonly StateTensor[], declared: readonly StateTensor[]): string | undefined {
  const [names, declaredNames] = [byName(own), byName(declared)];
  for (const name of new Set([...declaredNames.keys(), ...names.keys()])) {
    const [its, runs] = [names.get(name), declaredNames.get(name)];
    if (textOf(its) !== textOf(runs)) return `its ${name} is ${textOf(its)}, but the run's is ${textOf(runs)}`;
  }
  return own.length === names.size ? undefined : 'two of its parameters have the same name';
}

/** The first position at which two workers have different parameters; undefined if there is none. */
export function unlikeOrder(own: readonly StateTensor[], other: readonly StateTensor[]): string | undefined {
  if (own === other) return undefined;
  const place = own.findIndex(({ name }, i) => name !== other[i]?.name);
  return place < 0
    ? undefined
    : `its parameter ${place} is ${own[place]?.name}, but the others' is ${other[place]?.name}`;
}

/** Whether two tables have the same parameters in the same order. */
export function isSameTable(own: readonly StateTensor[], other: readonly StateTensor[]): boolean {
  const isSame = (tensor: StateTensor, i: number) =>
    tensor.name === other[i]?.name && textOf(tensor) === textOf(other[i]);
  return own.length === other.length && own.every(isSame);
}

const byName = (tensors: readonly StateTensor[]) => new Map(tensors.map((tensor) => [tensor.name, tensor]));

function textOf(tensor: StateTensor | undefined): string {
  if (tensor === undefined) return 'missing';
  const [, ...others] = tensor.parts;
  return `[${tensor.shape}] and ${isTrainedTensor(tensor) ? `trained (${others.join(', ')})` : 'frozen'}`;
}
