/**
 * The header of a ring frame: what the chunk behind it is. The payload is the chunk itself, raw.
 *
 * ```
 *  byte  0        4        8        12       16       20      22       24     25     28
 *        ┌────────┬────────┬────────┬────────┬────────┬───────┬────────┬──────┬──────┐
 *        │ magic  │ term  │ step   │ bucket │ chunk  │ rank  │segment │phase │ zero │   then one frame: float32 × n
 *        └────────┴────────┴────────┴────────┴────────┴───────┴────────┴──────┴──────┘
 *          u32      u32      u32      u32      u32      u16     u16      u8     3 × u8    all little-endian
 * ```
 *
 * 28 bytes fit into ZeroMQ's own message struct (33), so a header costs no allocation there. A fixed layout and not msgpack:
 * it is written and read once per chunk, and a DataView does that about ten times faster.
 */
import { endianness } from 'node:os';
import { InvariantError } from '../base/errors.ts';
import { ringHeaderBytes } from './link.ts';

/** "LSR2": changes with every incompatible change of the layout or of the order of the frames. */
const magic = 0x3252534c;

/** Reduce-scatter sums segments on their way round; all-gather carries the finished ones round. */
export type RingPhase = 'reduceScatter' | 'allGather';
/** `state`: a piece of the state of a step, before the first step of a term. */
const phases = ['reduceScatter', 'allGather', 'state'] as const satisfies readonly (RingPhase | 'state')[];

export interface RingHeader {
  term: number;
  step: number;
  /** Index in the step's list of buckets. In a piece of the state, its offset in units of 2^32 bytes. */
  bucket: number;
  phase: RingPhase | 'state';
  /** Which of the bucket's worldSize parts. */
  segment: number;
  /** Index of the chunk in the segment. In a piece of the state, the rest of its offset, in bytes. */
  chunk: number;
  /** The rank that sends the frame. */
  rank: number;
}

/** Writes into `bytes`, which may be used again for the next frame, since a link copies headers while it sends. */
export function encodeRingHeader(header: RingHeader, bytes = new Uint8Array(ringHeaderBytes)): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, ringHeaderBytes);
  view.setUint32(0, magic, true);
  view.setUint32(4, header.term, true);
  view.setUint32(8, header.step, true);
  view.setUint32(12, header.bucket, true);
  view.setUint32(16, header.chunk, true);
  view.setUint16(20, header.rank, true);
  view.setUint16(22, header.segment, true);
  view.setUint32(24, phases.indexOf(header.phase), true);
  return bytes;
}

/** The header, or undefined if the bytes are not one. That its numbers fit the step's plan is for the ring to check. */
export function decodeRingHeader(bytes: Uint8Array): RingHeader | undefined {
  if (bytes.byteLength !== ringHeaderBytes) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, ringHeaderBytes);
  const phase = phases[view.getUint8(24)];
  const zero = view.getUint8(25) | view.getUint16(26, true);
  if (view.getUint32(0, true) !== magic || phase === undefined || zero !== 0) return undefined;
  return {
    term: view.getUint32(4, true),
    step: view.getUint32(8, true),
    bucket: view.getUint32(12, true),
    chunk: view.getUint32(16, true),
    rank: view.getUint16(20, true),
    segment: view.getUint16(22, true),
    phase,
  };
}

// Payloads are sent in their memory layout. Every platform of Node 20 except s390x is little-endian.
if (endianness() !== 'LE')
  throw new InvariantError('The ring sends float32 in their memory layout: little-endian only.');

/** The payload as floats: a view where its alignment allows one, else a copy. */
export function floatsOf(payload: Uint8Array): Float32Array {
  if (payload.byteOffset % 4 === 0) return new Float32Array(payload.buffer, payload.byteOffset, payload.byteLength / 4);
  return new Float32Array(new Uint8Array(payload).buffer); // `slice` of a Buffer would be a view
}
