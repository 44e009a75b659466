/** Checks a checkpoint's files against its manifest. checkpoint.ts interprets their contents. */
import { inFolder } from '../base/objectPath.ts';
import { damaged } from '../base/strictJson.ts';
import { hashStored, isStored, sizeOfStored } from '../objectStore/storedFiles.ts';
import { MANIFEST_FILE, type Manifest, OPTIMIZER_FILE, TRAINER_FILE } from './manifest.ts';

/**
 * Compares the manifest's files with the disk: sizes first, because that is cheap, then sha256. With `model` it skips the optimizer's
 * file, and `trainer.json` if that is missing.
 */
export async function verifyFiles(folder: string, manifest: Manifest, verify: 'all' | 'model'): Promise<void> {
  const files = { ...manifest.files };
  if (verify === 'model') {
    delete files[OPTIMIZER_FILE];
    if (!(await isStored(inFolder(folder, TRAINER_FILE)))) delete files[TRAINER_FILE];
  }
  await verifySizes(folder, { files });
  for (const [name, expected] of Object.entries(files)) {
    const path = inFolder(folder, name);
    const sha256 = await hashStored(path, expected.bytes, expected.sha256);
    if (sha256 !== expected.sha256) {
      throw damaged(path, `its sha256 is ${sha256}, but ${MANIFEST_FILE} says ${expected.sha256}`);
    }
  }
}

/** @throws UserError when a file of the manifest is missing or has a different size */
export async function verifySizes(folder: string, { files }: Pick<Manifest, 'files'>): Promise<void> {
  for (const [name, { bytes }] of Object.entries(files)) {
    const path = inFolder(folder, name);
    const found = await sizeOfStored(path);
    if (found !== bytes) throw damaged(path, `it has ${found} bytes, but ${MANIFEST_FILE} says ${bytes}`);
  }
}
