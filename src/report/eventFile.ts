/**
 * Event files as TensorBoard reads them: TFRecord framing of `tensorflow.Event` messages.
 *
 * A record is: length (uint64, little-endian), masked CRC32C of those 8 bytes, the message, its masked CRC32C. Fields and their numbers:
 * https://github.com/tensorflow/tensorboard/tree/master/tensorboard/compat/proto (event.proto, summary.proto, tensor.proto); framing:
 * https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details.
 */
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import crc32c from 'crc-32/crc32c.js';

/** What one event says. */
export type EventContent =
  | { readonly kind: 'fileVersion' }
  /** A session starts: a reader drops what it has of this step and later ones. */
  | { readonly kind: 'sessionStart' }
  | { readonly kind: 'scalars'; readonly values: Readonly<Record<string, number>> }
  /** Markdown. */
  | { readonly kind: 'text'; readonly tag: string; readonly text: string };

export interface TensorBoardEvent {
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  readonly step: number;
  readonly content: EventContent;
}

/** The first event of a file has it: files of this version may purge by session starts. */
const fileVersion = 'brain.Event:2';

const field = {
  event: { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 },
  sessionLog: { status: 1 },
  summary: { value: 1 },
  value: { tag: 1, simpleValue: 2, tensor: 8, metadata: 9 },
  metadata: { pluginData: 1 },
  pluginData: { pluginName: 1 },
  tensor: { dtype: 1, shape: 2, stringVal: 8 },
} as const;
const sessionStatusStart = 1;
const dtypeString = 7;

/** One record, framed. */
export function encodeRecord(event: TensorBoardEvent): Uint8Array {
  const message = encodeEvent(event);
  const record = new Uint8Array(8 + 4 + message.length + 4);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(message.length), true);
  view.setUint32(8, maskedCrc(record.subarray(0, 8)), true);
  record.set(message, 12);
  view.setUint32(12 + message.length, maskedCrc(message), true);
  return record;
}

function encodeEvent({ timeMs, step, content }: TensorBoardEvent): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(field.event.wallTime, WireType.Bit64).double(timeMs / 1_000);
  writer.tag(field.event.step, WireType.Varint).int64(step);
  switch (content.kind) {
    case 'fileVersion':
      writer.tag(field.event.fileVersion, WireType.LengthDelimited).string(fileVersion);
      break;
    case 'sessionStart':
      writer.tag(field.event.sessionLog, WireType.LengthDelimited).fork();
      writer.tag(field.sessionLog.status, WireType.Varint).int32(sessionStatusStart).join();
      break;
    case 'scalars':
      writer.tag(field.event.summary, WireType.LengthDelimited).fork();
      for (const [tag, value] of Object.entries(content.values)) {
        writer.tag(field.summary.value, WireType.LengthDelimited).fork();
        writer.tag(field.value.tag, WireType.LengthDelimited).string(tag);
        writer.tag(field.value.simpleValue, WireType.Bit32).float(value).join();
      }
      writer.join();
      break;
    case 'text':
      writer.tag(field.event.summary, WireType.LengthDelimited).fork();
      writeText(writer, content.tag, content.text);
      writer.join();
      break;
    default:
      content satisfies never;
  }
  return writer.finish();
}

/** A scalar of strings that the text plugin shows. */
function writeText(writer: BinaryWriter, tag: string, text: string): void {
  writer.tag(field.summary.value, WireType.LengthDelimited).fork();
  writer.tag(field.value.tag, WireType.LengthDelimited).string(tag);
  writer.tag(field.value.metadata, WireType.LengthDelimited).fork();
  writer.tag(field.metadata.pluginData, WireType.LengthDelimited).fork();
  writer.tag(field.pluginData.pluginName, WireType.LengthDelimited).string('text').join().join();
  writer.tag(field.value.tensor, WireType.LengthDelimited).fork();
  writer.tag(field.tensor.dtype, WireType.Varint).int32(dtypeString);
  writer.tag(field.tensor.shape, WireType.LengthDelimited).fork().join();
  writer.tag(field.tensor.stringVal, WireType.LengthDelimited).bytes(new TextEncoder().encode(text)).join();
  writer.join();
}

/** Rotated, and a constant added: a CRC of data that hold CRCs would be weak. */
function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c.buf(bytes) >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
