/** Options that several benches share. */
import { UserError } from '../base/errors.ts';
import type { InstructionSet } from '../engine/native/addon.ts';

export type IsaOption = InstructionSet | 'auto';

export const isaOption = {
  choices: ['auto', 'amx', 'avx512bf16', 'avx512', 'avx2', 'neon', 'scalar'] as const satisfies readonly IsaOption[],
  default: 'auto' as const,
  describe: 'Instruction set of the native engine',
};

/** How many ranks or workers: numbers with commas between. @throws UserError for anything else */
export function countsOption(name: string, text: string, { min, max }: { min: number; max: number }): number[] {
  const counts = text.split(',').map(Number);
  if (counts.some((count) => !Number.isInteger(count) || count < min || count > max)) {
    throw new UserError(`Expected numbers from ${min} to ${max} for --${name}, like 2,4, but received "${text}".`);
  }
  return counts;
}
