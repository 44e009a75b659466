import { describe, expect, it } from 'vitest';
import { createTokenizer, tokenizerFromFiles } from '../../../../src/data/tokenizers/openTokenizer.ts';
import { tokenizerHash } from '../../../../src/data/tokenizers/tokenizerHash.ts';

describe('tokenizerHash', () => {
  it('stays what it is: shards that were made with a tokenizer must stay readable', async () => {
    const hashes = {
      char: '6ab9f3b4a90af9ddb9ed2384438565ae68a2d3577c6ec62288cc9b685d4c1ec0',
      byte: '6229e9510d4288e103e1d9fa88d5670971f41e57b83932fe492d495d2b6ad227',
      gpt2: '7ae05ce15428823fceb60664e2bf6daaae4f8d245f089df302cf7ab8771ee853',
      cl100k: '6c1db69d8fc3221703b5c98711a584a6764825b8a66b684e7df3f0e933121820',
      o200k: 'bb13a9726423f83cfa905bd869f69045c2b04ee372c9cbf6032b7638545b1326',
      'bpe:300': 'd67ba263d0bd60434dcc7d456a2e6cd4a7dc6cbfd43b1060991a5d5dd35bd350',
    } as const;
    for (const kind of ['char', 'byte', 'gpt2', 'cl100k', 'o200k', 'bpe:300'] as const) {
      expect(tokenizerHash(await createTokenizer(kind, 'abc')), kind).toBe(hashes[kind]);
    }
  }, 60_000);

  it('is the same for a tokenizer that was written and read again, and another for another vocabulary', async () => {
    const tokenizer = await createTokenizer('char', 'abc');
    expect(tokenizerHash(await tokenizerFromFiles(tokenizer.files()))).toBe(tokenizerHash(tokenizer));
    expect(tokenizerHash(await createTokenizer('char', 'abd'))).not.toBe(tokenizerHash(tokenizer));
  });
});
