/**
 * An envelope: many control messages of one host's workers in one message between the agent of that host (worker/hostAgent.ts) and the
 * coordinator (hostServer.ts). docs/decisions/host-agent.md says why.
 *
 * ```
 *  message:  [ 0xc1 | version | msgpack: [ [peers, message or nil, bytes of its payload or -1], … ] ]     payload: [ all payloads, in order ]
 * ```
 *
 * The peers are one text, with spaces between their ids: a host names the same workers again and again, and a reader knows such a text at once ({@link PeerLists}).
 *
 * 0xc1 begins no msgpack value, so no message of a worker looks like an envelope. An envelope without messages asks the coordinator whether it
 * knows envelopes, and is its answer. One of another version gets no answer, so its workers connect by themselves.
 */
import { Packr } from 'msgpackr';
import { messageOf, PeerError } from '../base/errors.ts';
import { isPeerId } from './link.ts';

/** One message, as it would have its own connection. */
export interface EnvelopeMessage {
  /** Whose connection: from the agent one worker, from the coordinator perhaps several. */
  readonly peers: readonly string[];
  /** Absent: these connections are closed. */
  readonly message: Uint8Array | undefined;
  readonly payload: Uint8Array | undefined;
}

const mark = 0xc1;
/** Raised when the bytes of envelopes change. The first format had none, and began its array here: a byte from 0x90 on. */
const formatVersion = 2;
const headBytes = 2;
const messagesMax = 65_536;
/** Workers of one host. */
export const hostPeersMax = 4_096;
/** Ids in all lists of peers that a reader remembers. */
const listedMax = 65_536;
/** Between ids, of which none has a space. */
const separator = ' ';

const packr = new Packr({ useRecords: false });

export function isEnvelope(frame: Uint8Array): boolean {
  return frame[0] === mark;
}

export function encodeEnvelope(messages: readonly EnvelopeMessage[]): {
  frame: Uint8Array;
  payload: Uint8Array | undefined;
} {
  const payloads: Uint8Array[] = [];
  const list = messages.map(({ peers, message, payload }) => {
    if (payload !== undefined) payloads.push(payload);
    return [peers.join(separator), message ?? null, payload?.byteLength ?? -1];
  });
  const packed = packr.pack(list);
  const frame = new Uint8Array(headBytes + packed.byteLength);
  frame.set([mark, formatVersion]);
  frame.set(packed, headBytes);
  return { frame, payload: payloads.length < 2 ? payloads[0] : Buffer.concat(payloads) };
}

/** The peers that envelopes have named before, by the text that named them: each text is taken apart once, and names the same list. */
export class PeerLists {
  readonly #lists = new Map<string, readonly string[]>();
  /** Ids in these. */
  #listed = 0;

  /** Undefined if the text does not name peers. */
  of(text: string): readonly string[] | undefined {
    const known = this.#lists.get(text);
    if (known !== undefined) return known;
    const peers = text.split(separator, hostPeersMax + 1);
    if (peers.length > hostPeersMax || !peers.every(isPeerId)) return undefined;
    // A peer that makes up names does not fill the memory.
    if (this.#listed + peers.length > listedMax) {
      this.#lists.clear();
      this.#listed = 0;
    }
    this.#listed += peers.length;
    this.#lists.set(text, peers);
    return peers;
  }
}

/** @throws PeerError if this is not an envelope of this version */
export function decodeEnvelope(
  frame: Uint8Array,
  payload: Uint8Array | undefined,
  lists = new PeerLists(),
): EnvelopeMessage[] {
  if (frame[1] !== formatVersion) throw new PeerError(`expected envelopes of version ${formatVersion}`);
  let list: unknown;
  try {
    list = packr.unpack(frame.subarray(headBytes));
  } catch (error) {
    throw new PeerError(`expected an envelope of messages: ${messageOf(error)}`);
  }
  if (!Array.isArray(list) || list.length > messagesMax) throw malformed();
  let at = 0;
  const messages = list.map((item: unknown): EnvelopeMessage => {
    if (!Array.isArray(item) || item.length !== 3) throw malformed();
    const [text, message, bytes] = item as unknown[];
    const peers = typeof text === 'string' ? lists.of(text) : undefined;
    const isMessage = message === null || (message instanceof Uint8Array && message.byteLength > 0);
    const isSize = typeof bytes === 'number' && Number.isInteger(bytes) && bytes >= -1;
    if (peers === undefined || !isMessage || !isSize) throw malformed();
    if (bytes < 0) return { peers, message: message ?? undefined, payload: undefined };
    const part = payload?.subarray(at, at + bytes);
    if (part?.byteLength !== bytes) throw malformed();
    at += bytes;
    return { peers, message: message ?? undefined, payload: part };
  });
  if (at !== (payload?.byteLength ?? 0)) throw malformed();
  return messages;
}

function malformed(): PeerError {
  return new PeerError('malformed envelope of messages');
}
