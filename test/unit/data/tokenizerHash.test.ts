import { describe, expect, it } from 'vitest';
import { createTokenizer, tokenizerFromFiles } from '../../../src/data/tokenizer.ts';
import { tokenizerHash } from '../../../src/data/tokenizerHash.ts';

describe('tokenizerHash', () => {
  it('stays what it is: shards that were made with a tokenizer must stay readable', async () => {
    expect(tokenizerHash(await createTokenizer('gpt2', ''))).toBe(
      '7ae05ce15428823fceb60664e2bf6daaae4f8d245f089df302cf7ab8771ee853',
    );
    expect(tokenizerHash(await createTokenizer('char', 'abc'))).toBe(
      '6ab9f3b4a90af9ddb9ed2384438565ae68a2d3577c6ec62288cc9b685d4c1ec0',
    );
  });

  it('is the same for a tokenizer that was written and read again, and another for another vocabulary', async () => {
    const tokenizer = await createTokenizer('char', 'abc');
    expect(tokenizerHash(await tokenizerFromFiles(tokenizer.files()))).toBe(tokenizerHash(tokenizer));
    expect(tokenizerHash(await createTokenizer('char', 'abd'))).not.toBe(tokenizerHash(tokenizer));
  });
});
