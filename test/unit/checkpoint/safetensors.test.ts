import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import {
  encodeSafetensorsHeader,
  HEADER_BYTES_MAX,
  headerLength,
  parseSafetensorsHeader,
  readSafetensorsHeader,
} from '../../../src/checkpoint/safetensors.ts';
import { CheckpointStore } from '../../../src/checkpoint/store.ts';
import { contentsAt, temporaryFolder, tensorsOf, tinyModel, valuesOf, writeTiny } from './tinyCheckpoint.ts';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Parses a header that precedes `dataBytes` bytes of data. */
function parse(header: unknown, dataBytes: number) {
  const json = encode(typeof header === 'string' ? header : JSON.stringify(header));
  return parseSafetensorsHeader(json, 8 + json.length + dataBytes, 'x.safetensors');
}

const f32 = (begin: number, end: number) => ({ dtype: 'F32', shape: [(end - begin) / 4], data_offsets: [begin, end] });

test('reads what it wrote', () => {
  const tensors = tensorsOf(tinyModel);
  const bytes = encodeSafetensorsHeader(tensors, { format: 'pt' });
  const dataBytes = valuesOf(tensors, 0, 0).byteLength;
  expect(headerLength(bytes, bytes.length + dataBytes, 'x')).toBe(bytes.length - 8);
  expect(bytes.length % 8).toBe(0);
  const header = parseSafetensorsHeader(bytes.subarray(8), bytes.length + dataBytes, 'x');
  expect(header.metadata).toEqual({ format: 'pt' });
  expect(header.dataStart).toBe(bytes.length);
  expect(header.entries.map(({ name, shape }) => ({ name, shape }))).toEqual(tensors);
});

test('keeps names that look like integers in their order', () => {
  const bytes = encodeSafetensorsHeader(
    ['b', '10', '9'].map((name) => ({ name, shape: [1] })),
    {},
  );
  expect(new TextDecoder().decode(bytes.subarray(8)).trimEnd()).toBe(
    '{"__metadata__":{},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' +
      '"10":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"9":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}',
  );
});

describe('refuses', () => {
  test.each<[string, unknown, number, string]>([
    ['overlap', { a: f32(0, 8), b: f32(4, 12) }, 12, '"b" overlaps'],
    ['a gap', { a: f32(0, 8), b: f32(12, 16) }, 16, '"b" leaves a gap'],
    ['a gap at the beginning', { a: f32(4, 8) }, 8, '"a" leaves a gap'],
    ['bytes after the end', { a: f32(0, 8) }, 12, 'its tensors end at byte'],
    ['missing bytes', { a: f32(0, 8) }, 4, 'its tensors end at byte'],
    [
      'a duplicate name',
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
      4,
      '"a" occurs twice',
    ],
    [
      'a duplicate field',
      '{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
      4,
      '"dtype" occurs twice',
    ],
    ['an unknown dtype', { a: { ...f32(0, 4), dtype: 'F33' } }, 4, 'unknown dtype "F33"'],
    ['an inherited name as dtype', { a: { ...f32(0, 4), dtype: 'toString' } }, 4, 'unknown dtype'],
    ['a size that is not shape times dtype', { a: { ...f32(0, 4), shape: [2] } }, 4, 'needs 8 bytes, not 4'],
    ['a product beyond any number', { a: { ...f32(0, 4), shape: [2 ** 52, 2 ** 52] } }, 4, 'bytes, not 4'],
    ['a negative size', { a: { ...f32(0, 4), shape: [-1] } }, 4, 'impossible shape'],
    ['a fraction', { a: { ...f32(0, 4), shape: [1.5] } }, 4, 'impossible shape'],
    ['offsets in reverse', { a: { dtype: 'F32', shape: [1], data_offsets: [4, 0] } }, 4, 'needs 4 bytes, not -4'],
    ['three offsets', { a: { dtype: 'F32', shape: [1], data_offsets: [0, 4, 8] } }, 4, 'impossible data_offsets'],
    ['an unknown key', { a: { ...f32(0, 4), strides: [1] } }, 4, 'unknown key "strides"'],
    ['metadata that is not text', { __metadata__: { a: 1 } }, 0, '"a" is not a string'],
    ['an array', '[]', 0, 'does not begin with'],
    ['text after the object', '{} x', 0, 'expected JSON'],
    ['bad UTF-8', 'ÿ', 0, 'does not begin with'],
  ])('%s', (_name, header, dataBytes, message) => {
    expect(() => parse(header, dataBytes)).toThrow(UserError);
    expect(() => parse(header, dataBytes)).toThrow(message);
  });

  test('a header longer than the file or than the bound, before reading it', () => {
    const prefix = (length: bigint) => new Uint8Array(new BigUint64Array([length]).buffer);
    expect(() => headerLength(prefix(2n ** 63n), 1000, 'x')).toThrow('claims 9223372036854775808 bytes');
    expect(() => headerLength(prefix(993n), 1000, 'x')).toThrow('expected 2 to 992');
    expect(() => headerLength(prefix(BigInt(HEADER_BYTES_MAX) + 1n), 2 ** 40, 'x')).toThrow(`2 to ${HEADER_BYTES_MAX}`);
    expect(() => headerLength(prefix(0n), 1000, 'x')).toThrow('claims 0 bytes');
    expect(() => headerLength(new Uint8Array(3), 3, 'x')).toThrow('at least 8 bytes');
  });

  test('a file that is cut anywhere', async () => {
    const folder = temporaryFolder();
    const whole = Buffer.concat([
      encodeSafetensorsHeader(
        [
          { name: 'a', shape: [3] },
          { name: 'b', shape: [] },
        ],
        {},
      ),
      new Uint8Array(16),
    ]);
    const path = join(folder, 'cut.safetensors');
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(path, whole.subarray(0, length));
      await expect(readSafetensorsHeader(path), `${length} bytes`).rejects.toThrow(UserError);
    }
    writeFileSync(path, whole);
    expect((await readSafetensorsHeader(path)).entries.map(({ name }) => name)).toEqual(['a', 'b']);
  });
});

test('accepts what the format allows: empty tensors, scalars, padding, another order, no metadata', () => {
  const scalar = { dtype: 'F16', shape: [], data_offsets: [8, 10] };
  const header = parse(
    `${JSON.stringify({ s: scalar, e: { dtype: 'F32', shape: [0, 4], data_offsets: [0, 0] }, a: f32(0, 8) })}   `,
    10,
  );
  expect(header.entries.map(({ name }) => name)).toEqual(['e', 'a', 's']);
});

test('whatever the bytes, the parser answers with a covering table or a UserError', () => {
  const json = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.json({ maxDepth: 4 }).map(encode),
    fc
      .dictionary(
        fc.oneof(fc.string(), fc.constantFrom('__proto__', '__metadata__', 'constructor')),
        fc.record({
          dtype: fc.constantFrom('F32', 'F16', 'I64', 'x'),
          shape: fc.array(fc.oneof(fc.nat(4), fc.double()), { maxLength: 3 }),
          data_offsets: fc.array(fc.nat(64), { minLength: 1, maxLength: 3 }),
        }),
      )
      .map((object) => encode(JSON.stringify(object))),
  );
  fc.assert(
    fc.property(json, fc.nat(64), (bytes, dataBytes) => {
      const fileBytes = 8 + bytes.length + dataBytes;
      try {
        const { entries, dataStart } = parseSafetensorsHeader(bytes, fileBytes, 'x');
        const covered = entries.reduce((total, { begin, end }) => total + end - begin, dataStart);
        expect(covered).toBe(fileBytes);
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
      }
    }),
    { numRuns: 2000 },
  );
});

test('a valid file with some bytes of its header changed is a covering table or a UserError', () => {
  const tensors = tensorsOf(tinyModel);
  const header = encodeSafetensorsHeader(tensors, { format: 'pt' });
  const fileBytes = header.length + valuesOf(tensors, 0, 0).byteLength;
  const change = fc.tuple(fc.nat(header.length - 9), fc.nat(255));
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const json = header.slice(8);
      for (const [at, value] of changes) json[at] = value;
      try {
        const { entries } = parseSafetensorsHeader(json, fileBytes, 'x');
        for (const { begin, end } of entries) {
          expect(begin).toBeGreaterThanOrEqual(header.length);
          expect(end).toBeLessThanOrEqual(fileBytes);
        }
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
      }
    }),
    { numRuns: 2000 },
  );
});

test('the published layout, read without our code: length, JSON, data at data_offsets after the header', async () => {
  const store = new CheckpointStore(temporaryFolder());
  const contents = contentsAt(2);
  const path = await writeTiny(store, contents);
  for (const [file, prefixes] of [
    ['model.safetensors', ['']],
    ['optimizer.safetensors', ['m.', 'v.']],
  ] as const) {
    const bytes = readFileSync(join(path, file));
    const length = Number(bytes.readBigUInt64LE(0));
    const { __metadata__: metadata, ...table } = JSON.parse(bytes.toString('utf8', 8, 8 + length));
    expect(metadata).toEqual(file === 'model.safetensors' ? { format: 'pt' } : {});
    expect(Object.keys(table)).toEqual(prefixes.flatMap((prefix) => contents.tensors.map(({ name }) => prefix + name)));
    const part = file === 'model.safetensors' ? 0 : 1;
    const expected = prefixes.flatMap((_, i) => [...valuesOf(contents.tensors, (part + i) as 0 | 1 | 2, 2)]);
    let read = 0;
    for (const { dtype, shape, data_offsets: offsets } of Object.values<{
      dtype: string;
      shape: number[];
      data_offsets: [number, number];
    }>(table)) {
      expect(dtype).toBe('F32');
      expect(offsets[1] - offsets[0]).toBe(4 * shape.reduce((a, b) => a * b, 1));
      for (let at = offsets[0]; at < offsets[1]; at += 4) {
        if (bytes.readFloatLE(8 + length + at) !== expected[read++]) throw new Error(`wrong value at ${at}`);
      }
    }
    expect(read).toBe(expected.length);
    expect(8 + length + 4 * read).toBe(bytes.length);
  }
});
