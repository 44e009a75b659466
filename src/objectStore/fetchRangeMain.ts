/** A process that fetches one range of an object into a file of the cache, for a process that waits for it (cachedObject.ts). */
import { z } from 'zod';
import { exitCodeOf, fullMessageOf } from '../base/errors.ts';
import { damaged } from '../base/strictJson.ts';
import { openBucket } from './buckets.ts';
import { getRange } from './objects.ts';
import { writeRange } from './rangeCache.ts';

const request = z.strictObject({ from: z.string(), start: z.int(), end: z.int(), tag: z.string(), to: z.string() });

try {
  const { from, start, end, tag, to } = request.parse(JSON.parse(process.argv[2] ?? ''));
  const { client, key } = openBucket(from);
  const bytes = await getRange(client, key, { start, end, tag });
  if (bytes === undefined) throw damaged(from, 'it was removed while it was read');
  await writeRange(to, bytes);
  process.exit(0);
} catch (error) {
  process.stderr.write(`${fullMessageOf(error)}\n`);
  process.exit(exitCodeOf(error));
}
