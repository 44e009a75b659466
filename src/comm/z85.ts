/**
 * Z85, the text form of a CURVE key (https://rfc.zeromq.org/spec/32): 32 bytes are 40 characters. Z85 has characters such as `/`
 * and `&`, so that addresses carry a key as hex instead.
 */
import { invariant } from '../base/errors.ts';

const digits = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#';
const keyBytes = 32;
const keyCharacters = 40;

/** Whether `text` can be a CURVE key: 40 digits of Z85, each five of which fit 32 bits. */
export function isZ85Key(text: string): boolean {
  if (text.length !== keyCharacters || [...text].some((digit) => !digits.includes(digit))) return false;
  for (let i = 0; i < keyCharacters; i += 5) if (z85Value(text.slice(i, i + 5)) > 0xffff_ffff) return false;
  return true;
}

/** A Z85 key in hex. */
export function hexOfKey(key: string): string {
  invariant(isZ85Key(key), `expected a Z85 key of ${keyCharacters} characters, received ${key.length}`);
  const bytes = Buffer.alloc(keyBytes);
  for (let i = 0; i < keyBytes / 4; i++) bytes.writeUInt32BE(z85Value(key.slice(i * 5, i * 5 + 5)), i * 4);
  return bytes.toString('hex');
}

/** A hex key in Z85, as zeromq.js wants it. */
export function keyOfHex(hex: string): string {
  invariant(/^[0-9a-f]{64}$/.test(hex), `expected a key of 64 hex digits, received ${hex.length} characters`);
  const bytes = Buffer.from(hex, 'hex');
  let key = '';
  for (let i = 0; i < keyBytes; i += 4) {
    let value = bytes.readUInt32BE(i);
    let five = '';
    for (let j = 0; j < 5; j++) {
      five = `${digits[value % 85]}${five}`;
      value = Math.floor(value / 85);
    }
    key += five;
  }
  return key;
}

function z85Value(five: string): number {
  let value = 0;
  for (const digit of five) value = value * 85 + digits.indexOf(digit);
  return value;
}
