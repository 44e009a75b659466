/**
 * The instruction sets for which the native engine is compiled; other lists derive from this one. The
 * addon determines which of them a machine supports (native/instructionSet.cc).
 */

/** Properties of an instruction set. */
interface InstructionSetFacts {
  /** The name for people. */
  readonly label: string;
  /** Whether products of bfloat16 numbers are faster on it than those of float32. */
  readonly fastBf16: 'yes' | 'sometimes' | 'no';
  /** Sets with the same word compute the same bits in an update: test/parity/kernels/updateBits.test.ts. */
  readonly update: 'x86' | 'neon' | 'scalar';
}

/** Best first. */
export const instructionSets = {
  amx: { label: 'AMX', fastBf16: 'yes', update: 'x86' },
  avx512bf16: { label: 'AVX-512 BF16', fastBf16: 'sometimes', update: 'x86' },
  avx512: { label: 'AVX-512', fastBf16: 'no', update: 'x86' },
  avx2: { label: 'AVX2', fastBf16: 'no', update: 'x86' },
  neon: { label: 'NEON', fastBf16: 'no', update: 'neon' },
  scalar: { label: 'scalar', fastBf16: 'no', update: 'scalar' },
} as const satisfies Readonly<Record<string, InstructionSetFacts>>;

export type InstructionSet = keyof typeof instructionSets;

/** Their names, best first. */
export const instructionSetNames = Object.keys(instructionSets) as readonly InstructionSet[];

/** Narrows the name that an engine reports. */
export function isInstructionSet(unit: string): unit is InstructionSet {
  return Object.hasOwn(instructionSets, unit);
}
