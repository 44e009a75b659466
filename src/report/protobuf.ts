/**
 * Encodes the few field types of event files in the wire format of Protocol Buffers.
 * https://protobuf.dev/programming-guides/encoding/
 */

const wireTypes = { varint: 0, bit64: 1, lengthDelimited: 2, bit32: 5 } as const;

/** A message: its encoded fields, in order. */
export function message(...fields: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(fields);
}

/** An integer from 0, of type int32, int64 or enum. */
export function varintField(number: number, value: number): Uint8Array {
  return message(tag(number, 'varint'), varint(value));
}

export function doubleField(number: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return message(tag(number, 'bit64'), bytes);
}

export function floatField(number: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return message(tag(number, 'bit32'), bytes);
}

/** Text, bytes, or a message. */
export function bytesField(number: number, value: string | Uint8Array): Uint8Array {
  const bytes = Buffer.from(value);
  return message(tag(number, 'lengthDelimited'), varint(bytes.length), bytes);
}

function tag(number: number, type: keyof typeof wireTypes): Uint8Array {
  return varint(number * 8 + wireTypes[type]);
}

/** Seven bits per byte, lowest first. Divides because shifts would drop the bits above 32. */
function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Uint8Array.from([...bytes, rest]);
}
