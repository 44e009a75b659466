/** Refuses what people type where a run belongs, and prints the command that they mean: `generate "Once upon a time"`, `eval rows.jsonl`. */
import { existsSync, statSync } from 'node:fs';
import { UserError } from '../base/errors.ts';
import { isObjectPath } from '../base/objectPath.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { userPath } from '../base/userPath.ts';
import { fileAsCheckpoint } from '../run/findCheckpoint.ts';
import { nearestRun } from '../run/runFolder.ts';

/**
 * @param use the option that takes such a file
 * @throws UserError if the checkpoint is a file
 */
export function refuseFile(
  { command, checkpoint, use }: { readonly command: string; readonly checkpoint: string; readonly use: string },
  cwd: string,
): void {
  // Nobody means weights as text; `findCheckpoint` names their folder.
  if (isObjectPath(checkpoint) || /\.(safetensors|bin|pt|pth|ckpt|gguf)$/i.test(checkpoint)) return;
  if (statSync(userPath(cwd, checkpoint), { throwIfNoEntry: false })?.isFile() !== true) return;
  throw fileAsCheckpoint(
    `${command}: ${checkpoint}`,
    `. To use this file, run ${ownCommand(command, use, checkpoint)}`,
  );
}

/** @throws UserError if the checkpoint looks like a text to continue: it is not a path, and no run has nearly this name */
export async function refuseText(checkpoint: string, cwd: string): Promise<void> {
  if (checkpoint.includes('/')) return;
  const path = userPath(cwd, checkpoint);
  if (existsSync(path) || (await nearestRun(path, cwd)) !== undefined) return;
  throw new UserError(
    `folder ${checkpoint} not found. If it is a text to continue, use ${ownCommand('generate', '--prompt', checkpoint)}`,
  );
}
