/** `launch --version`. */
import { commitOfCode } from '../base/commit.ts';
import { version } from '../base/version.ts';
import type { InstructionSet } from '../engine/native/addon.ts';
import { createNativeEngine } from '../engine/native/nativeEngine.ts';
import { selectEngine } from '../engine/registry.ts';

const instructionSets = {
  amx: 'AMX',
  avx512bf16: 'AVX-512 BF16',
  avx512: 'AVX-512',
  avx2: 'AVX2',
  neon: 'NEON',
  scalar: 'scalar',
} satisfies Record<InstructionSet, string>;

/** `lockstep 0.1.0 (abc1234), engine native AVX-512`: the version, the commit if it is known, and the engine that a run takes. */
export async function versionLine(): Promise<string> {
  const commit = commitOfCode();
  return `lockstep ${version}${commit === undefined ? '' : ` (${commit})`}, engine ${await engineName()}`;
}

async function engineName(): Promise<string> {
  const { name, device } = selectEngine({ name: 'auto' });
  if (name === 'tfjs') return `${name} ${device}`;
  const engine = createNativeEngine({ threads: 1 });
  const { isa } = engine;
  await engine.dispose();
  return `${name} ${instructionSets[isa]}`;
}
