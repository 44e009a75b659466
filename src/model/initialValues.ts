/** The initial values of parameters: a pure function of the seed and the parameter's name, bit for bit, on every machine and engine. */
import type { ParameterSpec } from '../architecture/parameters.ts';
import { fillSinusoidal } from '../architecture/sinusoidal.ts';
import { type RandomKey, randomKey } from '../base/counterRandom.ts';
import { fillNormal } from './normalRandom.ts';

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
