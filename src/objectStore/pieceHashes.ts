/**
 * The hashes of the pieces of a file or object, in a file of their own beside it, so that a part of it can be verified without the rest. All numbers
 * are little-endian:
 *
 *      offset  bytes
 *           0      8  "LOCKPIEC"
 *           8      4  format version, 1
 *          12      4  bytes of a piece, 65,536; the last one may be shorter
 *          16     32  identifies the content that is meant (of a shard: the sha256 of its tokens)
 *          48  32 · n  sha256 of each piece
 *    48 + 32 · n  32  sha256 of all before
 */
import { createHash, webcrypto } from 'node:crypto';
import { open } from 'node:fs/promises';
import { UserError } from '../base/errors.ts';
import { damaged } from '../base/strictJson.ts';
import { readFully } from '../base/wholeFiles.ts';
import type { BucketClient } from './client.ts';
import { getObject, getRange } from './objects.ts';

/** Ends the name of the file with the hashes. */
export const PIECES_SUFFIX = '.pieces';
export const pieceBytes = 2 ** 16;
const MAGIC = 'LOCKPIEC';
const FORMAT_VERSION = 1;
const headBytes = 48;
const hashBytes = 32;
/** Bytes read at a time. */
const sliceBytes = 16 * pieceBytes;
/** How often a range that is not as expected is fetched. */
const fetchesMost = 2;

/** [pieces, 32] bytes. */
export type PieceHashes = Buffer;

/** The contents of the file of hashes for the file at `path`. @param id 64 hex digits */
export async function encodePieces(path: string, id: string): Promise<Buffer> {
  const file = await open(path, 'r');
  const hashes: Buffer[] = [];
  try {
    const { size } = await file.stat();
    for (let from = 0; from < size; from += sliceBytes) {
      const slice = new Uint8Array(Math.min(sliceBytes, size - from));
      await readFully(file, slice, from, path);
      for (let at = 0; at < slice.length; at += pieceBytes) {
        hashes.push(
          createHash('sha256')
            .update(slice.subarray(at, at + pieceBytes))
            .digest(),
        );
      }
    }
  } finally {
    await file.close();
  }
  const head = Buffer.alloc(headBytes);
  head.write(MAGIC, 'latin1');
  head.writeUInt32LE(FORMAT_VERSION, 8);
  head.writeUInt32LE(pieceBytes, 12);
  head.write(id, 16, 'hex');
  const all = Buffer.concat([head, ...hashes]);
  return Buffer.concat([all, createHash('sha256').update(all).digest()]);
}

/** @throws UserError if they are damaged, or of another content */
export function decodePieces(
  content: Buffer,
  { id, bytes, path }: { readonly id: string; readonly bytes: number; readonly path: string },
): PieceHashes {
  const hashed = hashBytesOf(bytes);
  const end = content.length - hashBytes;
  const isOurs = content.length >= headBytes && content.toString('latin1', 0, 8) === MAGIC;
  if (!isOurs) throw damaged(path, 'it does not have the hashes of pieces');
  if (content.readUInt32LE(8) !== FORMAT_VERSION || content.readUInt32LE(12) !== pieceBytes) {
    throw new UserError(`${path} has another format version than ${FORMAT_VERSION}, which this Lockstep reads`);
  }
  const isComplete = end === headBytes + hashed;
  if (!isComplete || !createHash('sha256').update(content.subarray(0, end)).digest().equals(content.subarray(end))) {
    throw damaged(path, 'its own hash does not match');
  }
  if (content.toString('hex', 16, headBytes) !== id) throw damaged(path, 'it is about another file');
  return content.subarray(headBytes, end);
}

/** Bytes of the hashes of an object of `bytes` bytes. */
export function hashBytesOf(bytes: number): number {
  return hashBytes * Math.ceil(bytes / pieceBytes);
}

export interface ObjectIdentity {
  readonly key: string;
  readonly bytes: number;
  readonly tag: string;
  /** The id in its file of hashes. */
  readonly id: string;
}

/** The hashes of an object that has some. @throws as {@link decodePieces}, and if they are gone or the store cannot be reached */
export async function piecesOf(client: BucketClient, { key, bytes, id }: ObjectIdentity): Promise<PieceHashes> {
  const name = `${key}${PIECES_SUFFIX}`;
  const content = await getObject(client, name, headBytes + hashBytes + hashBytesOf(bytes));
  if (content === undefined) throw damaged(client.pathOf(name), 'it was removed while its file was read');
  return decodePieces(content, { id, bytes, path: client.pathOf(name) });
}

/**
 * A range of an object whose ends are those of pieces, verified if there are hashes.
 * @throws UserError if it was removed or differs from its hashes; PeerError if the store fails
 */
export async function getVerified(
  client: BucketClient,
  { key, tag }: Pick<ObjectIdentity, 'key' | 'tag'>,
  { start, end, pieces }: { readonly start: number; readonly end: number; readonly pieces: PieceHashes | undefined },
): Promise<Buffer> {
  for (let attempt = 1; ; attempt++) {
    const range = await getRange(client, key, { start, end, tag });
    if (range === undefined) throw damaged(client.pathOf(key), 'it was removed while it was read');
    const wrong = pieces && (await firstDamaged(range, pieces.subarray((start / pieceBytes) * hashBytes)));
    if (wrong === undefined) return range;
    if (attempt === fetchesMost) {
      const at = start + wrong;
      throw damaged(client.pathOf(key), `bytes ${at} to ${Math.min(end, at + pieceBytes)} differ from their hash`);
    }
  }
}

/** Where the first piece that differs from its hash begins. Hashed by other threads, piece by piece: a run may be waiting for this one. */
async function firstDamaged(range: Buffer, hashes: Buffer): Promise<number | undefined> {
  for (let at = 0, i = 0; at < range.length; at += pieceBytes, i += hashBytes) {
    const found = Buffer.from(await webcrypto.subtle.digest('SHA-256', range.subarray(at, at + pieceBytes)));
    if (!found.equals(hashes.subarray(i, i + hashBytes))) return at;
  }
  return undefined;
}
