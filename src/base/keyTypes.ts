/** The types of config keys: each is a zod type with a default, bounds, a description of allowed values (for messages) and a documentation text. */
import { z } from 'zod';
import { labelLengthMax } from './labelLimits.ts';

/** The properties of a schema leaf that zod does not store. */
interface KeyDoc {
  readonly doc: string;
}

export function whole({
  doc,
  min = 0,
  max = 2 ** 31 - 1,
  ...rest
}: KeyDoc & { default: number; min?: number; max?: number }) {
  const expects = `a whole number from ${min} to ${max}`;
  return z.int().min(min).max(max).default(rest.default).meta({ description: doc, expects });
}

export function indexOrAuto({ doc, max }: KeyDoc & { max: number }) {
  const expects = `auto or a whole number from 0 to ${max}`;
  return z
    .union([z.literal('auto'), z.int().min(0).max(max)])
    .default('auto')
    .meta({ description: doc, expects });
}

export function real({ doc, min, max, ...rest }: KeyDoc & { default: number; min: number; max: number }) {
  const expects = `a number from ${min} to ${max}`;
  return z.number().min(min).max(max).default(rest.default).meta({ description: doc, expects });
}

export function bytes({ doc, min, max, ...rest }: KeyDoc & { default: number; min: number; max: number }) {
  const expects = `a multiple of 4 from ${min} to ${max}`;
  return z.int().min(min).max(max).multipleOf(4).default(rest.default).meta({ description: doc, expects });
}

export function flag({ doc, ...rest }: KeyDoc & { default: boolean }) {
  return z.boolean().default(rest.default).meta({ description: doc, expects: 'true or false' });
}

export function choice<const T extends readonly [string, ...string[]]>(
  values: T,
  { doc, ...rest }: KeyDoc & { default: T[number] },
) {
  // A default of an enum is one of its values; zod's type for it says the same in a form TypeScript cannot relate to T.
  const expects = `one of ${values.join(', ')}`;
  return z
    .enum(values)
    .default(rest.default as z.core.util.NoUndefined<T[number]>)
    .meta({ description: doc, expects });
}

export function string({ doc, max, ...rest }: KeyDoc & { default: string; max: number }) {
  const expects = `a string of 1 to ${max} characters`;
  return z.string().min(1).max(max).default(rest.default).meta({ description: doc, expects });
}

/** A list of positive numbers, whose length is one of `lengths`. */
export function positives({ doc, lengths, max }: KeyDoc & { lengths: readonly number[]; max: number }) {
  const expects = `a list of ${lengths.join(' or ')} numbers above 0, at most ${max}`;
  return z
    .array(z.number().positive().max(max))
    .refine((list) => lengths.includes(list.length), 'another number of numbers')
    .default([])
    .meta({ description: doc, expects });
}

/** A list of different values of these, at least one. */
export function choices<const T extends readonly [string, ...string[]]>(
  values: T,
  { doc, ...rest }: KeyDoc & { default: T[number][] },
) {
  const expects = `a list of different names, each one of ${values.join(', ')}`;
  return z
    .array(z.enum(values))
    .min(1)
    .refine((list) => new Set(list).size === list.length, 'the same name twice')
    .default(rest.default as z.core.util.NoUndefined<T[number]>[])
    .meta({ description: doc, expects });
}

/** A list of different names. */
export function names({ doc, max }: KeyDoc & { max: number }) {
  const expects = `a list of different names, at most ${max}`;
  return z
    .array(z.string().min(1).max(labelLengthMax))
    .max(max)
    .refine((list) => new Set(list).size === list.length, 'the same name twice')
    .default([])
    .meta({ description: doc, expects });
}

export const pathMax = 4096;
export const pathsMax = 1000;
export const path = z.string().min(1).max(pathMax);
