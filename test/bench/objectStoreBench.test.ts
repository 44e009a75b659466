import { expect, it } from 'vitest';
import {
  checkpointSum,
  renderCheckpointHead,
  renderCheckpointRow,
  renderCheckpointSum,
} from '../../bench/objectStore/checkpointBench.ts';
import { renderDataWaitHead, renderDataWaitRow } from '../../bench/objectStore/dataWaitBench.ts';

it('compares checkpoints in a store with those on the disk by their medians', () => {
  const row = (place: 'disk' | 'store', seconds: number, extraBytes = 0) => ({
    place,
    seconds,
    bytes: 3e8,
    extraBytes,
  });
  const rows = [row('disk', 2), row('store', 3, 2 ** 20), row('disk', 4), row('store', 9, 2 ** 25), row('disk', 1)];
  expect(checkpointSum(rows)).toEqual({ ratio: 3, extraBytes: 2 ** 25 });
  const text = renderCheckpointHead({ bytes: 3e8 }) + renderCheckpointRow(rows[3]!) + renderCheckpointSum(rows);
  expect(text.replaceAll(/ +/g, ' ')).toBe(
    [
      'a checkpoint of 300 MB to the disk and to the store, in turns',
      '',
      'place seconds MB/s extra MiB',
      'store 9.00 33 32.0',
      '',
      'store / disk, ratio of medians: 3.00; most extra memory of the store: 32.0 MiB',
      '',
    ].join('\n'),
  );
});

it('shows how long workers wait for samples', () => {
  const text =
    renderDataWaitHead({ steps: 300 }) +
    renderDataWaitRow({ source: 'store', p50: 0.0761, p99: 0.4, max: 1.61, workMs: 4.4 });
  expect(text.replaceAll(/ +/g, ' ')).toContain('\nstore 0.076 0.400 1.610 4.40\n');
});
