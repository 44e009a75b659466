/** Whether a worker's replica has the parameters that the run trains, in the order of the others' streams. Pure. */
import type { StateTensor } from '../../base/stateParts.ts';

/** What a worker's parameters have that those of the run's model have not, or the other way; undefined where nothing. */
export function unlikeDeclared(own: readonly StateTensor[], declared: readonly StateTensor[]): string | undefined {
  const [names, declaredNames] = [byName(own), byName(declared)];
  for (const name of new Set([...declaredNames.keys(), ...names.keys()])) {
    const [its, runs] = [names.get(name), declaredNames.get(name)];
    if (textOf(its) !== textOf(runs)) return `its ${name} is ${textOf(its)}, that of the run ${textOf(runs)}`;
  }
  return own.length === names.size ? undefined : 'two of its parameters have one name';
}

/** The first place at which two workers have another parameter; undefined where they have the same everywhere. */
export function unlikeOrder(own: readonly StateTensor[], other: readonly StateTensor[]): string | undefined {
  const place = own.findIndex(({ name }, i) => name !== other[i]?.name);
  return place < 0
    ? undefined
    : `its parameter ${place} is ${own[place]?.name}, that of the others ${other[place]?.name}`;
}

const byName = (tensors: readonly StateTensor[]) => new Map(tensors.map((tensor) => [tensor.name, tensor]));

function textOf(tensor: StateTensor | undefined): string {
  return tensor === undefined ? 'not there' : `[${tensor.shape}] and ${tensor.trained ? 'trained' : 'frozen'}`;
}
