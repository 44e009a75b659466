/** The options of a search for the most likely target of a source, for models with an encoder. */
import type { Argv } from 'yargs';
import { UserError } from '../base/errors.ts';
import { type BeamOptions, noBeams } from '../run/answers.ts';
import { numberOption } from './options.ts';

export interface BeamArguments {
  readonly beams: number;
  readonly 'length-penalty': number | undefined;
}

export function withBeamOptions<T>(yargs: Argv<T>): Argv<T & BeamArguments> {
  return yargs
    .option('beams', {
      type: 'number',
      requiresArg: true,
      default: noBeams.beams,
      describe: 'Beams in the search for a translation; 1: no search',
    })
    .option('length-penalty', {
      type: 'number',
      requiresArg: true,
      describe: `Exponent of the length by which --beams divides scores [default: ${noBeams.lengthPenalty}]`,
    });
}

/** @throws UserError for a number out of range, and for a penalty without beams */
export function beamsOf({ beams, 'length-penalty': lengthPenalty }: BeamArguments): BeamOptions {
  numberOption('beams', beams, { min: 1, max: 64, whole: true });
  if (lengthPenalty === undefined) return { ...noBeams, beams };
  if (beams === 1) throw new UserError('--length-penalty is for --beams: add --beams 4, or omit it');
  return { beams, lengthPenalty: numberOption('length-penalty', lengthPenalty, { min: -10, max: 10 }) };
}
