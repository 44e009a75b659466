/**
 * What a worker was doing when, in a step that is traced: spans, and how they travel (the payload of `trace`). Times are milliseconds
 * since 1970 by the worker's clock that never jumps, with fractions.
 */
import { z } from 'zod';
import { PeerError } from '../base/errors.ts';

/**
 * Lines of a worker's timeline: what the agent waits for; what the compute thread does, its kernels where they run while they are called;
 * kernels by the clock of a device that runs them later; buckets, several at a time; the chunks that it sums and passes on.
 */
export const spanTracks = ['agent', 'compute', 'device', 'buckets', 'chunks'] as const;

const span = z.object({
  track: z.enum(spanTracks),
  name: z.string().max(128),
  startMs: z.number().finite(),
  ms: z.number().min(0),
});
/** Spans of one track lie one after the other or inside each other, but for those of `buckets`. */
export type Span = z.infer<typeof span>;

/** Maximum number of spans in one step of one worker; further ones are counted but not recorded. */
export const spansMax = 40_000;
const spanList = z.array(span).max(spansMax);

export function encodeSpans(spans: readonly Span[]): Uint8Array {
  return Buffer.from(JSON.stringify(spans));
}

/** @throws PeerError if the bytes are not a list of spans */
export function decodeSpans(payload: Uint8Array | undefined): Span[] {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(payload ?? []).toString('utf8'));
  } catch {
    throw new PeerError(`expected spans as JSON, received ${payload?.byteLength ?? 0} bytes`);
  }
  const parsed = spanList.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new PeerError(`malformed spans: ${issue?.path.join('.') || 'list'}: ${issue?.message ?? 'unknown'}`);
}
