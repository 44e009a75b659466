/** A chart as a file, in the format of its file extension. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, extname } from 'node:path';
import { messageOf, UserError } from '../base/errors.ts';
import { pngOf } from './png.ts';

/** @throws UserError for a name that ends with neither .svg nor .png */
export function checkPictureName(path: string): void {
  const end = extname(path).toLowerCase();
  if (end !== '.svg' && end !== '.png') {
    throw new UserError(`expected a file name that ends with .svg or .png, received ${JSON.stringify(path)}`);
  }
}

/** @throws UserError if it cannot be written */
export async function writePicture(path: string, svg: string): Promise<void> {
  checkPictureName(path);
  await writeOutput(path, extname(path).toLowerCase() === '.png' ? await pngOf(svg) : svg);
}

/** Writes a requested file and creates its parent folders. @throws UserError if it cannot be written */
export async function writeOutput(path: string, content: string | Uint8Array): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  } catch (error) {
    throw new UserError(`cannot write ${path}: ${messageOf(error)}`);
  }
}
