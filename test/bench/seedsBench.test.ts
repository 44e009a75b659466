import { expect, it } from 'vitest';
import { seedsTable } from '../../bench/seeds/seedsBench.ts';

it('prints a row for each seed, then mean and range', () => {
  const results = [
    { seed: 1, valLoss: 1.9, steps: 2000, seconds: 61.4 },
    { seed: 2, valLoss: 1.91, steps: 2000, seconds: 59 },
  ];
  const table = seedsTable();
  const text = table.heading + results.map(table.row).join('') + table.summary(results);
  expect(text.replaceAll(/ +/g, ' ').split('\n')).toEqual([
    ' seed steps validation loss seconds',
    ' 1 2000 1.9000 61',
    ' 2 2000 1.9100 59',
    'mean 1.9050, range 1.9000 to 1.9100 over 2 seeds',
    '',
  ]);
});
