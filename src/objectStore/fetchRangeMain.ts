/** A process that fetches one range of an object into a file of the cache, for a process that waits for it (cachedObject.ts). */
import { z } from 'zod';
import { exitCodeOf, fullMessageOf } from '../base/errors.ts';
import { openBucket } from './buckets.ts';
import { getVerified, piecesOf } from './pieceHashes.ts';
import { writeRange } from './rangeCache.ts';

const request = z.strictObject({
  ...{ from: z.string(), start: z.int(), end: z.int(), to: z.string() },
  ...{ tag: z.string(), bytes: z.int(), id: z.string(), hasPieces: z.boolean() },
});

try {
  const { from, start, end, to, hasPieces, ...object } = request.parse(JSON.parse(process.argv[2] ?? ''));
  const { client, key } = openBucket(from);
  const pieces = hasPieces ? await piecesOf(client, { key, ...object }) : undefined;
  const bytes = await getVerified(client, { key, ...object }, { start, end, pieces });
  await writeRange(to, bytes);
  process.exit(0);
} catch (error) {
  process.stderr.write(`${fullMessageOf(error)}\n`);
  process.exit(exitCodeOf(error));
}
