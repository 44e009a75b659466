import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { curveKeyPair } from 'zeromq';
import { UserError } from '../../../src/base/errors.ts';
import { joinKeysOf, newRunKeys, parseRunKeys, renderRunKeys } from '../../../src/comm/runKeys.ts';
import { hexOfKey, isZ85Key, keyOfHex } from '../../../src/comm/z85.ts';

describe('the keys of a run', () => {
  it('are read as they were written, with and without the secret of the coordinator', () => {
    const keys = newRunKeys();
    expect(parseRunKeys(renderRunKeys(keys))).toEqual(keys);
    const { serverSecretKey, ...rest } = keys;
    expect(joinKeysOf(keys)).toEqual(rest);
    expect(parseRunKeys(renderRunKeys(joinKeysOf(keys)))).toEqual(rest);
    expect(renderRunKeys(joinKeysOf(keys))).not.toContain(serverSecretKey);
  });

  it('are new for every run', () => {
    const [a, b] = [newRunKeys(), newRunKeys()];
    for (const name of Object.keys(a) as (keyof typeof a)[]) expect(a[name]).not.toBe(b[name]);
  });

  it.each([
    ['', /received nothing/],
    ['keys', /received something that is not JSON/],
    ['[1]', /all of it: /],
    ['x'.repeat(5000), /received 5000 characters/],
    [JSON.stringify({ ...newRunKeys(), token: 'abc' }), /token: expected 64 hex digits/],
    [JSON.stringify({ ...newRunKeys(), joinPublicKey: 'x'.repeat(39) }), /joinPublicKey: expected a CURVE key/],
    [JSON.stringify({ ...newRunKeys(), joinSecretKey: undefined }), /joinSecretKey/],
    [JSON.stringify({ ...newRunKeys(), more: 1 }), /more/],
  ])('refuses what is not a key, and says why: %.30s', (text, problem) => {
    expect(() => parseRunKeys(text)).toThrow(UserError);
    expect(() => parseRunKeys(text)).toThrow(problem);
  });

  it('never shows a key in a message', () => {
    const keys = newRunKeys();
    for (const name of Object.keys(keys)) {
      const text = JSON.stringify({ ...keys, [name]: 5 });
      const shown = (() => {
        try {
          parseRunKeys(text);
        } catch (error) {
          return String(error);
        }
        return '';
      })();
      expect(shown).toContain(name);
      for (const secret of Object.values(keys)) expect(shown).not.toContain(secret);
    }
  });
});

describe('Z85', () => {
  it('is that of libzmq', () => {
    // The client's public key in libzmq's own tests.
    const key = 'Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID';
    const hex = 'bb88471d65e2659b30c55a5321cebb5aab2b70a398645c26dca2b2fcb43fc518';
    expect(hexOfKey(key)).toBe(hex);
    expect(keyOfHex(hex)).toBe(key);
  });

  it('goes both ways, and every key that ZeroMQ makes is one', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        const hex = Buffer.from(bytes).toString('hex');
        expect(isZ85Key(keyOfHex(hex))).toBe(true);
        expect(hexOfKey(keyOfHex(hex))).toBe(hex);
      }),
    );
    for (let i = 0; i < 50; i++) expect(keyOfHex(hexOfKey(curveKeyPair().publicKey))).toMatch(/^.{40}$/);
  });

  it('has no digits but its own, and no group above 32 bits', () => {
    expect(isZ85Key('0'.repeat(40))).toBe(true);
    for (const text of ['', '0'.repeat(39), `${'0'.repeat(39)}"`, `${'0'.repeat(39)}€`, '#'.repeat(40)]) {
      expect(isZ85Key(text), text).toBe(false);
    }
  });
});
