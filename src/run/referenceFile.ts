/**
 * The reference log probabilities of a run's pairs on disk: `reference.safetensors` in the run directory, with what they were computed
 * from. It is replaced atomically, and checked completely when it is read.
 */
import { createHash } from 'node:crypto';
import { UserError } from '../base/errors.ts';
import { damaged, readBoundedFile } from '../base/strictJson.ts';
import { isFile } from '../base/wholeFiles.ts';
import { writeWhole } from '../base/writeWhole.ts';
import { encodeSafetensorsHeader, readSafetensorsHeader } from '../checkpoint/safetensors.ts';

/** The log probabilities of each pair's targets under the reference: [pairs, 2], chosen and rejected. */
export interface ReferenceLogprobs {
  readonly train: Float32Array;
  readonly validation: Float32Array;
}

/** What they were computed from, each in hexadecimal. */
export interface ReferenceSource {
  /** Hash of the samples, in order. */
  readonly pairs: string;
  /** Hash of the weights. */
  readonly weights: string;
}

const format = 'lockstep-reference';
const version = '1';
/** 64 million pairs. */
const bytesMax = 2 ** 29;

/** Identifies the values. Hexadecimal. */
export function hashReference({ train, validation }: ReferenceLogprobs): string {
  return createHash('sha256').update(bytesOf(train)).update(bytesOf(validation)).digest('hex');
}

/** @throws the system's error if the disk refuses */
export async function writeReference(path: string, values: ReferenceLogprobs, source: ReferenceSource): Promise<void> {
  const header = encodeSafetensorsHeader(tensorsOf(values), {
    format,
    version,
    ...source,
    values: hashReference(values),
  });
  await writeWhole(path, Buffer.concat([header, bytesOf(values.train), bytesOf(values.validation)]));
}

/**
 * Undefined if the file does not exist.
 * @param pairs the number of pairs of the run
 * @throws UserError if it is damaged, or has other numbers of pairs; PeerError if it cannot be read
 */
export async function readReference(
  path: string,
  pairs: { readonly train: number; readonly validation: number },
): Promise<{ values: ReferenceLogprobs; source: ReferenceSource } | undefined> {
  if (!(await isFile(path))) return undefined;
  const { entries, metadata } = await readSafetensorsHeader(path);
  if (metadata['format'] !== format) throw damaged(path, `its format is ${metadata['format']}, not ${format}`);
  if (metadata['version'] !== version) {
    throw new UserError(`${path} has version ${metadata['version']}: this version of Lockstep reads ${version}`);
  }
  const content = await readBoundedFile(path, bytesMax);
  const tensor = (name: keyof ReferenceLogprobs): Float32Array => {
    const entry = entries.find((found) => found.name === name);
    if (entry?.dtype !== 'F32' || entry.shape.length !== 2 || entry.shape[1] !== 2) {
      throw damaged(path, `expected ${name} as F32 [pairs, 2]`);
    }
    if (entry.shape[0] !== pairs[name]) {
      throw new UserError(
        `${path} has ${entry.shape[0]} pairs for ${name === 'train' ? 'training' : 'validation'}, but the run has ${pairs[name]}: the examples have changed; restore them, or start a new run`,
      );
    }
    return new Float32Array(content.buffer.slice(content.byteOffset + entry.begin, content.byteOffset + entry.end));
  };
  const values = { train: tensor('train'), validation: tensor('validation') };
  if (metadata['values'] !== hashReference(values)) throw damaged(path, 'its numbers differ from their sha256');
  return { values, source: { pairs: metadata['pairs'] ?? '', weights: metadata['weights'] ?? '' } };
}

function tensorsOf(values: ReferenceLogprobs) {
  return (['train', 'validation'] as const).map((name) => ({ name, shape: [values[name].length / 2, 2] }));
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
