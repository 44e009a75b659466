import { expect, it } from 'vitest';
import { translateText } from '../../bench/translate/translateBench.ts';
import { alignVerses } from '../../bench/translate/verses.ts';

it('verses are aligned by their references, without notes and long ones', () => {
  const english =
    'Genesis 1:1: In the\nbeginning\nI Kings 1:2: And\n\n  so\nPsalms 3:4: only here\nRevelation 22:21: The end.\n(engWEB2015eb)\n';
  const spanish =
    'Genesis 1:1: EN el <H7225> principio\nI Kings 1:2: Y así de largo\nRevelation 22:21: El fin.\n(spaRV1909eb)\n';
  const rows = alignVerses(english, spanish, 4);
  expect(rows).toEqual([
    { source: 'In the beginning', target: 'EN el principio' },
    { source: 'And so', target: 'Y así de largo' },
    { source: 'The end.', target: 'El fin.' },
  ]);
  expect(alignVerses(english, spanish, 3)).toHaveLength(2);
});

it('prints both results, and how far they are apart', () => {
  const text = translateText({
    rows: 6500,
    steps: 204,
    parameters: 1_234_567,
    lockstep: { valLoss: 4.2, bleu: 1.234, seconds: 60.4 },
    pytorch: { valLoss: 4.242, bleu: 1.5, seconds: 71, version: '2.13.0+cpu' },
    largestDifference: 0.0123,
  });
  expect(text.replaceAll(/ +/g, ' ').split('\n')).toEqual([
    '6,500 rows, 204 steps, 1,234,567 parameters',
    ' validation loss perplexity BLEU seconds',
    ' Lockstep 4.20000 66.69 1.23 60',
    ' PyTorch 2.13.0 4.24200 69.55 1.50 71',
    'the validation losses differ by 0.990 %, those of a step by at most 1.2e-2',
    '',
  ]);
});
