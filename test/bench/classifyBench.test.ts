import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { classifyTable } from '../../bench/classify/classifyBench.ts';
import { textOfMail } from '../../bench/classify/mails.ts';
import { naiveBayes } from '../../bench/classify/naiveBayes.ts';
import { packageRoot } from '../../src/base/packageRoot.ts';

it('naive Bayes has the probabilities that counting words gives', () => {
  const rows = [
    { text: 'Win a prize', label: 'spam' },
    { text: 'win WIN', label: 'spam' },
    { text: 'see you at home', label: 'ham' },
    { text: 'see a film', label: 'ham' },
    { text: 'you win', label: 'ham' },
  ];
  const labelOf = naiveBayes(rows);
  // 9 words are known. Spam: 2/5 · (3 + 1)/(5 + 9) = 0.1143; ham: 3/5 · (1 + 1)/(9 + 9) = 0.0667.
  expect(labelOf('win')).toBe('spam');
  // Spam: 2/5 · 1/14 · 4/14 = 0.0082; ham: 3/5 · 3/18 · 2/18 = 0.0111.
  expect(labelOf('See, WIN!')).toBe('ham');
  expect(labelOf('unknown')).toBe('ham');
});

it('counting words is not enough for the built-in reviews', () => {
  const lines = readFileSync(join(packageRoot, 'data/reviews.csv'), 'utf8').trim().split('\n').slice(1);
  const rows = lines.map((line) => {
    const comma = line.lastIndexOf(',');
    return { text: line.slice(0, comma), label: line.slice(comma + 1) };
  });
  const right = [0, 1, 2, 3, 4].flatMap((part) => {
    const labelOf = naiveBayes(rows.filter((_, index) => index % 5 !== part));
    return rows.filter(({ text, label }, index) => index % 5 === part && labelOf(text) === label);
  });
  expect(right.length / rows.length).toBeCloseTo(0.61, 2);
});

it('a mail is its subject and its text, without the other headers, tags and attachments', () => {
  const mail = [
    'Received: from a server\r\nSubject: Save\r\n money\r\nTo: you\r\n\r\n<html><b>Now</b>\r\n',
    `${'QUJD'.repeat(19)}\r\n\r\nor later\0`,
  ].join('');
  expect(textOfMail(mail)).toBe('Save money Now or later');
  expect(textOfMail(`a\n\n${'ab '.repeat(1_000)}`)).toHaveLength(500);
});

it('prints a row for each seed, then the means', () => {
  const results = [
    { seed: 1, accuracy: 0.96, macroF1: 0.9512, naiveBayes: 0.97, seconds: 61.4 },
    { seed: 2, accuracy: 0.97, macroF1: 0.96, naiveBayes: 0.98, seconds: 59 },
  ];
  const table = classifyTable();
  const text = table.heading + results.map(table.row).join('') + table.summary(results);
  expect(text.replaceAll(/ +/g, ' ').split('\n')).toEqual([
    ' seed accuracy macro F1 naive Bayes seconds',
    ' 1 96.00 % 0.9512 97.00 % 61',
    ' 2 97.00 % 0.9600 98.00 % 59',
    'mean accuracy 96.50 %, naive Bayes 97.50 %, over 2 seeds',
    '',
  ]);
});
