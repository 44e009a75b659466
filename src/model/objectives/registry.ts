/** Every objective, by its name: one line each. */
import { PeerError } from '../../base/errors.ts';
import { nextToken } from './nextToken.ts';
import type { Objective } from './objective.ts';

const objectives: readonly Objective[] = [
  nextToken, //
];

/** @throws PeerError if this version does not have this objective */
export function objectiveOf(name: string): Objective {
  const found = objectives.find((objective) => objective.name === name);
  if (found !== undefined) return found;
  const known = objectives.map((objective) => objective.name).join(', ');
  throw new PeerError(`expected an objective that this version has (${known}), received ${name}`);
}
