/**
 * The header of a shard, a file of token ids. All numbers are little-endian; the ids follow the header directly.
 *
 *      offset  bytes
 *           0      8  "LOCKSHRD"
 *           8      4  format version, 1
 *          12      4  bytes of one token: 2 (uint16) or 4 (uint32)
 *          16      8  tokens in this file
 *          24      4  size of the vocabulary: every id is below it
 *          28      4  0
 *          32     32  sha256 of the tokenizer (tokenizerFacts.ts)
 *          64     32  sha256 of the token bytes
 *          96         tokens
 */
import { UserError } from '../../base/errors.ts';
import { damaged } from '../../base/strictJson.ts';

export const SHARD_HEADER_BYTES = 96;

const MAGIC = 'LOCKSHRD';
const FORMAT_VERSION = 1;

export type TokenBytes = 2 | 4;

export interface ShardHeader {
  readonly tokenBytes: TokenBytes;
  readonly tokens: number;
  readonly vocabSize: number;
  /** Lower-case hex. */
  readonly tokenizerSha256: string;
  readonly tokensSha256: string;
}

export function encodeShardHeader(header: ShardHeader): Buffer {
  const bytes = Buffer.alloc(SHARD_HEADER_BYTES);
  bytes.write(MAGIC, 'latin1');
  bytes.writeUInt32LE(FORMAT_VERSION, 8);
  bytes.writeUInt32LE(header.tokenBytes, 12);
  bytes.writeBigUInt64LE(BigInt(header.tokens), 16);
  bytes.writeUInt32LE(header.vocabSize, 24);
  bytes.write(header.tokenizerSha256, 32, 'hex');
  bytes.write(header.tokensSha256, 64, 'hex');
  return bytes;
}

/**
 * @param bytes the first {@link SHARD_HEADER_BYTES} of a file, or the entire content of a shorter one
 * @throws UserError if the bytes are not a shard's, or have another version
 */
export function decodeShardHeader(bytes: Buffer, path: string): ShardHeader {
  if (bytes.length < SHARD_HEADER_BYTES) {
    throw damaged(path, `a shard begins with ${SHARD_HEADER_BYTES} bytes, but it has ${bytes.length}`);
  }
  if (bytes.toString('latin1', 0, MAGIC.length) !== MAGIC) {
    throw new UserError(`${path} is not a shard: expected it to begin with ${MAGIC}`);
  }
  const version = bytes.readUInt32LE(8);
  if (version !== FORMAT_VERSION) {
    throw new UserError(`${path} has format version ${version}; this Lockstep reads version ${FORMAT_VERSION}`);
  }
  const tokenBytes = bytes.readUInt32LE(12);
  if (tokenBytes !== 2 && tokenBytes !== 4) throw damaged(path, `tokens have 2 or 4 bytes, not ${tokenBytes}`);
  return {
    tokenBytes,
    tokens: Number(bytes.readBigUInt64LE(16)),
    vocabSize: bytes.readUInt32LE(24),
    tokenizerSha256: bytes.toString('hex', 32, 64),
    tokensSha256: bytes.toString('hex', 64, 96),
  };
}
