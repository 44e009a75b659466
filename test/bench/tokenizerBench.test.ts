import { describe, expect, it } from 'vitest';
import { byteLength, mixedText } from '../../bench/tokenizer/mixedText.ts';
import {
  renderTokenizers,
  runTokenizerBench,
  type TokenizerBenchReport,
} from '../../bench/tokenizer/tokenizerBench.ts';

const text = 'It has words,\nand lines.\n\nA second paragraph: naïve.\n\nA third <|endoftext|>\n';

describe('mixedText', () => {
  it('repeats the paragraphs of a text in parts, the same each time, without special tokens', () => {
    const parts = mixedText(text, 200_000);
    expect(parts).toEqual(mixedText(text, 200_000));
    expect(byteLength(parts)).toBeGreaterThanOrEqual(200_000);
    expect(parts.length).toBeGreaterThan(2);
    const paragraphs = new Set(parts.join('').match(/It has words,\nand lines.\n\n|A second .*\n\n|A third \n/g));
    expect(paragraphs.size).toBe(3);
    expect(parts.join('')).not.toContain('endoftext');
  });
});

describe('bench tokenizer', () => {
  it('times ours and others on the same text, which make the same tokens of it', async () => {
    const done: number[] = [];
    const options = { name: 'a text', trainMBytes: 0.1, encodeMBytes: 0.1, vocabSize: 300, runs: 2 };
    const report = await runTokenizerBench({ ...options, text }, (share) => done.push(share));
    expect(report).toMatchObject(options);
    expect(report.training).toEqual([
      expect.objectContaining({ by: expect.stringContaining('lockstep'), sameMerges: true, oursTimesAsFast: 1 }),
    ]);
    expect(report.encoding.map(({ tokenizer, by }) => `${tokenizer} ${by.split(' ')[0]}`)).toEqual([
      'gpt2 lockstep',
      'gpt2 gpt-tokenizer',
      'gpt2 @huggingface/tokenizers',
      'bpe:300 lockstep',
      'bpe:300 @huggingface/tokenizers',
    ]);
    for (const { sameTokens, mbytesPerSecond, bestMBytesPerSecond } of report.encoding) {
      expect(sameTokens).toBe(true);
      expect(mbytesPerSecond).toBeGreaterThan(0);
      expect(bestMBytesPerSecond).toBeGreaterThanOrEqual(mbytesPerSecond);
    }
    expect(done.at(-1)).toBe(1);
    expect(done).toEqual(done.toSorted((a, b) => a - b));
  }, 60_000);

  it('prints a line for each, and says where the tokens differ', () => {
    const report: TokenizerBenchReport = {
      name: 'builtin',
      trainMBytes: 100,
      encodeMBytes: 10,
      vocabSize: 4096,
      runs: 3,
      cpu: 'A CPU',
      cores: 2,
      node: '20.0.0',
      training: [
        { by: 'us', medianSeconds: 5, minSeconds: 4, mbytesPerSecond: 20, oursTimesAsFast: 1, sameMerges: true },
        { by: 'them', medianSeconds: 50, minSeconds: 40, mbytesPerSecond: 2, oursTimesAsFast: 10, sameMerges: true },
      ],
      encoding: [
        {
          tokenizer: 'gpt2',
          by: 'them',
          mbytesPerSecond: 2.5,
          bestMBytesPerSecond: 3,
          oursTimesAsFast: 8,
          sameTokens: false,
        },
      ],
    };
    expect(renderTokenizers(report).split('\n')).toEqual([
      'A CPU, 2 cores, Node 20.0.0; 3 runs in turns',
      'paragraphs of builtin: 100 MB to train bpe:4096 on, 10 MB to encode, one thread',
      '',
      'training  median s     min s     MB/s  ours is times as fast  same merges',
      'us            5.00      4.00     20.0                   1.00  yes',
      'them         50.00     40.00      2.0                  10.00  yes',
      '',
      'encoding  by    median MB/s  best MB/s  ours is times as fast  same tokens',
      'gpt2      them         2.50       3.00                   8.00  NO',
      '',
    ]);
  });
});
