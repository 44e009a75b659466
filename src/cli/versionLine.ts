/** What `--version` prints. Few modules are imported here, because they are most of the time that the answer takes. */
import { writeSync } from 'node:fs';
import { commitOfCode } from '../base/commit.ts';
import { version } from '../base/version.ts';
import { nativeName } from '../engine/nativeName.ts';

/** `lockstep 0.1.0 (abc1234), engine native AVX-512`: the version, the commit if known, and the default engine. */
export async function versionLine(): Promise<string> {
  return lineOf(nativeName() ?? (await otherEngine()));
}

/**
 * Prints the line without Node's streams, which take long to load.
 * @returns false if the program must print it: it needs the other engines, or standard output cannot be written
 */
export function printVersion(): boolean {
  const engine = nativeName();
  if (engine === undefined) return false;
  try {
    writeSync(1, `${lineOf(engine)}\n`);
    return true;
  } catch {
    // The program says why, or ends silently if `| head` has ended.
    return false;
  }
}

function lineOf(engine: string): string {
  const commit = commitOfCode();
  return `lockstep ${version}${commit === undefined ? '' : ` (${commit})`}, engine ${engine}`;
}

async function otherEngine(): Promise<string> {
  const { findEngine, unitsOf } = await import('../engine/registry.ts');
  const { instructionSets, isInstructionSet } = await import('../base/instructionSets.ts');
  const { ownCommand } = await import('../base/ownCommand.ts');
  const found = await findEngine({ name: 'auto' });
  if ('missing' in found) return `none: \`${ownCommand('doctor')}\` says how to get one`;
  const [unit = found.deviceKind] = unitsOf(found.name);
  return `${found.name} ${isInstructionSet(unit) ? instructionSets[unit].label : unit}`;
}
