/** Options that several benches share. */
import type { InstructionSet } from '../engine/native/addon.ts';

export type IsaOption = InstructionSet | 'auto';

export const isaOption = {
  choices: ['auto', 'amx', 'avx512bf16', 'avx512', 'avx2', 'neon', 'scalar'] as const satisfies readonly IsaOption[],
  default: 'auto' as const,
  describe: 'Instruction set of the native engine',
};
