/**
 * Reads TensorBoard's event files without our code: messages by protobufjs from their documented fields, checksums by the
 * definition of CRC-32C, bit by bit.
 */
import protobuf from 'protobufjs';

const { root } = protobuf.parse(`
  syntax = "proto3";
  message PluginData { string plugin_name = 1; bytes content = 2; }
  message SummaryMetadata { PluginData plugin_data = 1; string display_name = 2; }
  message TensorShape { message Dim { int64 size = 1; string name = 2; } repeated Dim dim = 2; bool unknown_rank = 3; }
  message Tensor { int32 dtype = 1; TensorShape tensor_shape = 2; repeated bytes string_val = 8; }
  message Value {
    string tag = 1; SummaryMetadata metadata = 9;
    oneof value { float simple_value = 2; Tensor tensor = 8; }
  }
  message Summary { repeated Value value = 1; }
  message SessionLog { enum Status { UNSPECIFIED = 0; START = 1; STOP = 2; CHECKPOINT = 3; } Status status = 1; }
  message Event {
    double wall_time = 1; int64 step = 2;
    oneof what { string file_version = 3; Summary summary = 5; SessionLog session_log = 7; }
  }
`);

export interface ReadEvent {
  readonly wallTime: number;
  readonly step: number;
  readonly fileVersion?: string;
  readonly summary?: {
    readonly value: readonly {
      readonly tag: string;
      readonly simpleValue?: number;
      readonly metadata?: { readonly pluginData: { readonly pluginName: string } };
      readonly tensor?: {
        readonly dtype: number;
        readonly tensorShape: object;
        readonly stringVal: readonly Uint8Array[];
      };
    }[];
  };
  readonly sessionLog?: { readonly status: string };
}

/** @throws if a length, a checksum or a message is wrong, or something is left over */
export function readEvents(file: Uint8Array): ReadEvent[] {
  const type = root.lookupType('Event');
  const events: ReadEvent[] = [];
  const bytes = Buffer.from(file);
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    check(bytes.subarray(at, at + 8), bytes.readUInt32LE(at + 8));
    const message = bytes.subarray(at + 12, at + 12 + length);
    check(message, bytes.readUInt32LE(at + 12 + length));
    events.push(type.toObject(type.decode(message), { longs: Number, enums: String }) as ReadEvent);
    at += length + 16;
  }
  return events;
}

/** What TensorBoard shows of a tag, file after file: a session start drops what is not before its step. */
export function scalarsOf(files: readonly Uint8Array[], tag: string): [step: number, value: number][] {
  let shown: [number, number][] = [];
  for (const event of files.flatMap(readEvents)) {
    const { step = 0, sessionLog, summary } = event;
    if (sessionLog?.status === 'START') shown = shown.filter(([earlier]) => earlier < step);
    for (const value of summary?.value ?? []) if (value.tag === tag) shown.push([step, value.simpleValue ?? 0]);
  }
  return shown;
}

function check(bytes: Buffer, masked: number): void {
  const unmasked = (masked - 0xa282ead8) >>> 0;
  const crc = ((unmasked >>> 17) | (unmasked << 15)) >>> 0;
  if (crc !== crc32c(bytes)) throw new Error(`the checksum of ${bytes.length} bytes is wrong`);
}

/** Defined in RFC 3720, whose examples the test of event files checks. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}
