/**
 * Event files as TensorBoard reads them: TFRecord framing of `tensorflow.Event` messages.
 *
 * A record is: length (uint64, little-endian), masked CRC32C of those 8 bytes, the message, its masked CRC32C. Fields and their numbers:
 * https://github.com/tensorflow/tensorboard/tree/master/tensorboard/compat/proto (event.proto, summary.proto, tensor.proto); framing:
 * https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details.
 */
import crc32c from 'crc-32/crc32c.js';
import { bytesField, doubleField, floatField, message, varintField } from './protobuf.ts';

/** The content of an event. */
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
  const bytes = encodeEvent(event);
  const record = new Uint8Array(8 + 4 + bytes.length + 4);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(bytes.length), true);
  view.setUint32(8, maskedCrc(record.subarray(0, 8)), true);
  record.set(bytes, 12);
  view.setUint32(12 + bytes.length, maskedCrc(bytes), true);
  return record;
}

function encodeEvent({ timeMs, step, content }: TensorBoardEvent): Uint8Array {
  return message(
    doubleField(field.event.wallTime, timeMs / 1_000),
    varintField(field.event.step, step),
    encodeContent(content),
  );
}

function encodeContent(content: EventContent): Uint8Array {
  switch (content.kind) {
    case 'fileVersion':
      return bytesField(field.event.fileVersion, fileVersion);
    case 'sessionStart':
      return bytesField(field.event.sessionLog, varintField(field.sessionLog.status, sessionStatusStart));
    case 'scalars': {
      const values = Object.entries(content.values).map(([tag, value]) =>
        message(bytesField(field.value.tag, tag), floatField(field.value.simpleValue, value)),
      );
      return bytesField(field.event.summary, message(...values.map((value) => bytesField(field.summary.value, value))));
    }
    case 'text':
      return bytesField(field.event.summary, bytesField(field.summary.value, textValue(content.tag, content.text)));
    default:
      return content satisfies never;
  }
}

/** A scalar of strings that the text plugin shows. */
function textValue(tag: string, text: string): Uint8Array {
  const plugin = bytesField(field.pluginData.pluginName, 'text');
  const tensor = message(
    varintField(field.tensor.dtype, dtypeString),
    bytesField(field.tensor.shape, ''),
    bytesField(field.tensor.stringVal, text),
  );
  return message(
    bytesField(field.value.tag, tag),
    bytesField(field.value.metadata, bytesField(field.metadata.pluginData, plugin)),
    bytesField(field.value.tensor, tensor),
  );
}

/** Rotated, and a constant added: a CRC of data that hold CRCs would be weak. */
function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c.buf(bytes) >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
