/** Shards as they are written, read, resumed and refused. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UserError } from '../../../../src/base/errors.ts';
import { decodeShardHeader, encodeShardHeader, SHARD_HEADER_BYTES } from '../../../../src/data/shards/shardFormat.ts';
import {
  encodeShardManifest,
  readShardManifest,
  type ShardEntry,
  type ShardManifest,
} from '../../../../src/data/shards/shardManifest.ts';
import { ShardFiles } from '../../../../src/data/shards/shardSequence.ts';
import { ShardWriter, type ShardWriterState } from '../../../../src/data/shards/shardWriter.ts';
import { survey } from '../../../../src/data/shards/survey.ts';
import { newTokenArray, type TokenArray } from '../../../../src/data/tokenArray.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-shards-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const sha = 'ab'.repeat(32);
const nothing: ShardWriterState = { shards: [], openTokens: 0 };

function openWriter(vocabSize: number, shardTokens: number, state = nothing): Promise<ShardWriter> {
  const tokenBytes = newTokenArray(vocabSize, 0).BYTES_PER_ELEMENT as 2 | 4;
  return ShardWriter.open(
    { folder, prefix: 'tokens', tokenBytes, vocabSize, tokenizerSha256: sha, shardTokens },
    state,
  );
}

function manifestOf(shards: ShardEntry[], vocabSize = 100): ShardManifest {
  const all = shards.map(({ name, tokens }) => ({ shard: name, from: 0, to: tokens }));
  return {
    format: 'lockstep-shards',
    version: 1,
    tokenBytes: vocabSize > 65_536 ? 4 : 2,
    tokenizer: { kind: 'char', vocabSize, sha256: sha, endOfText: null, files: ['tokenizer.json'] },
    ...{ documents: 1, textBytes: 1, skipped: 0, shards, splits: { train: all, val: [] } },
  };
}

/** Tokens that tell their place. */
const counting = (vocabSize: number, length: number): TokenArray =>
  newTokenArray(vocabSize, length).map((_, i) => (i * 7919) % vocabSize) as TokenArray;

function contents(shards: readonly ShardEntry[]): string[] {
  return shards.map(({ name }) => readFileSync(join(folder, name)).toString('base64'));
}

describe('ShardWriter and ShardFiles', () => {
  it.each([100, 70_000])(
    'give back every window, over the borders of shards, of a vocabulary of %i',
    async (vocabSize) => {
      const tokens = counting(vocabSize, 1_000);
      const writer = await openWriter(vocabSize, 64);
      for (let at = 0; at < 1_000; at += 37) await writer.append(tokens.subarray(at, at + 37));
      expect(writer.tokens).toBe(1_000);
      const shards = await writer.finish();
      expect(shards.map((entry) => entry.tokens)).toEqual([...Array<number>(15).fill(64), 40]);

      const files = ShardFiles.open(folder, manifestOf(shards, vocabSize));
      // Any ranges, as of a split.
      const ranges = [
        { shard: 'tokens-00003.bin', from: 10, to: 64 },
        { shard: 'tokens-00004.bin', from: 0, to: 64 },
        { shard: 'tokens-00015.bin', from: 0, to: 40 },
      ];
      const expected = [...tokens.subarray(3 * 64 + 10, 5 * 64), ...tokens.subarray(960)];
      const split = files.split(ranges);
      expect(split).toHaveLength(expected.length);
      fc.assert(
        fc.property(fc.nat(expected.length), fc.nat(expected.length), (a, b) => {
          const [from, to] = a < b ? [a, b] : [b, a];
          const window = split.subarray(from, to);
          expect(window.BYTES_PER_ELEMENT).toBe(vocabSize > 65_536 ? 4 : 2);
          expect([...window]).toEqual(expected.slice(from, to));
        }),
      );
      files.close();
    },
  );

  it('continues from a flush to the same bytes, whatever was written after it', async () => {
    const tokens = counting(100, 500);
    const whole = await openWriter(100, 64);
    await whole.append(tokens);
    const shards = await whole.finish();
    const expected = contents(shards);
    for (const cut of [0, 1, 63, 64, 65, 200, 499, 500]) {
      rmSync(folder, { recursive: true });
      folder = mkdtempSync(join(tmpdir(), 'lockstep-shards-'));
      const first = await openWriter(100, 64);
      await first.append(tokens.subarray(0, cut));
      const state = JSON.parse(JSON.stringify(await first.flush())) as ShardWriterState;
      // What a process did before it was killed, and did not flush.
      await first.append(counting(100, 100));
      await first.finish();
      const second = await openWriter(100, 64, state);
      expect(second.tokens).toBe(cut);
      await second.append(tokens.subarray(cut));
      expect(await second.finish()).toEqual(shards);
      expect(contents(shards)).toEqual(expected);
    }
  });

  it('does not continue a file that is shorter than it was', async () => {
    const writer = await openWriter(100, 64);
    await writer.append(counting(100, 40));
    const state = await writer.flush();
    await writer.close();
    truncateSync(join(folder, 'tokens-00000.bin'), 100);
    await expect(openWriter(100, 64, state)).rejects.toThrow(/is damaged: it has 100 bytes, but 176 had been written/);
  });
});

describe('a shard that is not what the manifest says', () => {
  let manifest: ShardManifest;
  const path = () => join(folder, 'tokens-00000.bin');
  beforeEach(async () => {
    const writer = await openWriter(100, 64);
    await writer.append(counting(100, 64));
    manifest = manifestOf(await writer.finish());
    ShardFiles.open(folder, manifest).close();
  });
  const refused = (message: RegExp, changed = manifest) => {
    expect(() => ShardFiles.open(folder, changed)).toThrow(UserError);
    expect(() => ShardFiles.open(folder, changed)).toThrow(message);
  };

  it('is refused when it is cut short, too long, or gone', () => {
    truncateSync(path(), 200);
    refused(/tokens-00000\.bin is damaged: it has 200 bytes, but its manifest says 224/);
    truncateSync(path(), 50);
    refused(/begins with 96 bytes, but it has 50/);
    rmSync(path());
    refused(/tokens-00000\.bin is missing/);
  });

  it('is refused when it has more than it should', () => {
    appendFileSync(path(), 'xx');
    refused(/it has 226 bytes, but its manifest says 224/);
  });

  it('is refused with another hash, tokenizer, or type', () => {
    const [entry] = manifest.shards as [ShardEntry];
    refused(/its header says sha256 .*, but the manifest says 0000/, {
      ...manifest,
      shards: [{ ...entry, sha256: '0'.repeat(64) }],
    });
    const tokenizer = { ...manifest.tokenizer, sha256: '1'.repeat(64) };
    refused(/was made with another tokenizer/, { ...manifest, tokenizer });
    refused(/differ in the number or the type/, { ...manifest, tokenizer: { ...manifest.tokenizer, vocabSize: 99 } });
  });

  it('is refused when it is something else, or of a later version', () => {
    const bytes = readFileSync(path());
    writeFileSync(path(), Buffer.concat([Buffer.from('NOTSHARD'), bytes.subarray(8)]));
    refused(/is not a shard: expected it to begin with LOCKSHRD/);
    bytes.writeUInt32LE(2, 8);
    writeFileSync(path(), bytes);
    refused(/has format version 2; this Lockstep reads version 1/);
  });

  it('is refused when it was never completed', async () => {
    const writer = await openWriter(100, 1_000);
    await writer.append(counting(100, 64));
    await writer.flush();
    await writer.close();
    refused(/is not a shard/);
  });
});

describe('the header', () => {
  it('is read as it was written, and is where the documentation says', () => {
    const header = {
      tokenBytes: 4,
      tokens: 2 ** 33 + 5,
      vocabSize: 100_277,
      tokenizerSha256: sha,
      tokensSha256: 'cd'.repeat(32),
    };
    const bytes = encodeShardHeader(header as never);
    expect(bytes).toHaveLength(SHARD_HEADER_BYTES);
    expect(decodeShardHeader(bytes, 'x')).toEqual(header);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    expect([view.getUint32(8, true), view.getUint32(12, true)]).toEqual([1, 4]);
    expect(view.getBigUint64(16, true)).toBe(8_589_934_597n);
    expect(view.getUint32(24, true)).toBe(100_277);
  });
});

describe('readShardManifest', () => {
  const read = () => readShardManifest(folder, 'data.shards');
  const write = (value: unknown) =>
    writeFileSync(join(folder, 'manifest.json'), typeof value === 'string' ? value : JSON.stringify(value));
  const good = manifestOf([{ name: 'tokens-00000.bin', tokens: 64, sha256: sha }]);

  it('reads what was written', async () => {
    write(encodeShardManifest(good));
    expect(await read()).toEqual(good);
  });

  it.each<[string, unknown, RegExp]>([
    [
      'of something else',
      { format: 'lockstep-checkpoint' },
      /is not of prepared data: its format is "lockstep-checkpoint"/,
    ],
    ['of a later version', { ...good, version: 2 }, /has format version 2/],
    ['cut short', encodeShardManifest(good).slice(0, 300), /is damaged: expected JSON/],
    [
      'with a file name that leads elsewhere',
      { ...good, shards: [{ ...good.shards[0], name: '../x' }] },
      /not a plain file name/,
    ],
    [
      'with a split of a shard that does not exist',
      { ...good, splits: { train: [{ shard: 'y', from: 0, to: 1 }], val: [] } },
      /train names y/,
    ],
    [
      'with a split beyond a shard',
      { ...good, splits: { train: [], val: [{ shard: 'tokens-00000.bin', from: 0, to: 65 }] } },
      /val has the tokens 0 to 65/,
    ],
  ])('refuses one %s', async (_, value, message) => {
    write(value);
    await expect(read()).rejects.toThrow(message);
    await expect(read()).rejects.toBeInstanceOf(UserError);
  });

  it('says what a folder without one is', async () => {
    await expect(read()).rejects.toThrow(/is not a prepared-data folder .*npx lockstep prepare/);
    // Killed before the first token was written, and after it.
    for (const file of ['prepare.json', 'progress.json']) {
      writeFileSync(join(folder, file), '{}');
      await expect(read()).rejects.toThrow(/is not finished: run the same `prepare` command again/);
      rmSync(join(folder, file));
    }
  });
});

describe('survey', () => {
  it('counts every token, and the documents by their length', async () => {
    const writer = await openWriter(100, 64);
    // Documents of 1, 5 and 150 tokens, over the borders of shards; 99 ends each.
    const documents = [1, 5, 150].flatMap((length) => [...Array<number>(length - 1).fill(length % 7), 99]);
    await writer.append(Uint16Array.from(documents));
    const manifest = manifestOf(await writer.finish());
    const found = await survey(folder, { ...manifest, tokenizer: { ...manifest.tokenizer, endOfText: 99 } }, () => {});
    expect(found.lengthCounts).toEqual([1, 0, 1, 0, 0, 0, 0, 1]);
    expect([found.tokenCounts[99], found.tokenCounts[5], found.tokenCounts[3]]).toEqual([3, 4, 149]);
    expect(found.tokenCounts.reduce((a, b) => a + b)).toBe(156);
  });

  it('finds tokens that have changed, and those that no vocabulary has', async () => {
    const writer = await openWriter(100, 64);
    await writer.append(counting(100, 64));
    const manifest = manifestOf(await writer.finish());
    const path = join(folder, 'tokens-00000.bin');
    const bytes = readFileSync(path);
    bytes[SHARD_HEADER_BYTES]! ^= 1;
    writeFileSync(path, bytes);
    await expect(survey(folder, manifest, () => {})).rejects.toThrow(
      /its tokens have sha256 .*, but the manifest says/,
    );
    bytes[SHARD_HEADER_BYTES + 1] = 1;
    writeFileSync(path, bytes);
    await expect(survey(folder, manifest, () => {})).rejects.toThrow(/has the token 257, but the vocabulary has 100/);
  });
});
