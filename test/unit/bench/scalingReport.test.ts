/** What `launch bench scaling` shows, from given figures. */
import { XMLValidator } from 'fast-xml-parser';
import { expect, it } from 'vitest';
import type { ScalingReport, ScalingResult } from '../../../src/bench/scalingBench.ts';
import {
  renderScalingHead,
  renderScalingPhases,
  renderScalingRow,
  scalingPage,
  scalingPictures,
} from '../../../src/bench/scalingReport.ts';

const alone: ScalingResult = {
  mode: 'weak',
  workers: 1,
  globalBatchSize: 4,
  tokensPerSecond: 6_400,
  stepMs: 160,
  stepQuartilesMs: [159, 161],
  efficiency: 1,
  communicationShare: 0,
  phaseMs: [0, 158, 0, 1, 1, 0],
};
const pair: ScalingResult = {
  ...alone,
  workers: 2,
  globalBatchSize: 8,
  tokensPerSecond: 11_520,
  stepMs: 178,
  efficiency: 0.9,
  communicationShare: 0.1,
  ringAloneMs: 40,
  overlapWon: 0.55,
  phaseMs: [0, 158, 18, 1, 1, 0],
};
const report: ScalingReport = {
  machine: {
    cpu: 'A <CPU>',
    cores: 2,
    memoryGiB: 8,
    os: 'linux x64',
    node: '20.0.0',
    lockstep: '1.2.3',
    commit: 'abc',
  },
  ...{
    device: 'simulated',
    engine: 'simulated device, 40 ms a sample',
    computeMs: 40,
    gradientMB: 43.1,
    blockSize: 256,
  },
  steps: 8,
  results: [alone, pair],
};

it('the table says which device it is, and keeps its columns', () => {
  const head = renderScalingHead(report);
  expect(head).toContain('simulated device, 40 ms a sample (compute is a timed wait); 43.1 MB of gradients');
  expect(head).toContain('at abc');
  const row = renderScalingRow(pair);
  expect(row).toMatch(/^weak +2 +8 +11,520 +90 % +178\.0 +159\.0 - 161\.0 +40\.0 +10 % +55 %\n$/);
  expect(row.trimEnd()).toHaveLength(head.trimEnd().split('\n').at(-1)!.length);
  expect(renderScalingPhases(report)).toMatch(/^weak +2 +0\.00 +158\.00 +18\.00 +1\.00 +1\.00 +0\.00$/m);
  expect(renderScalingHead({ ...report, device: 'real', engine: 'native (avx2, 2 threads)' })).toContain(
    'real device: native (avx2, 2 threads)',
  );
});

it('every picture is XML and says which device it is', () => {
  const pictures = scalingPictures(report);
  expect(pictures.map(({ name }) => name)).toEqual(['tokens', 'efficiency', 'communication', 'overlap', 'phases-weak']);
  for (const { name, svg } of pictures) {
    expect(XMLValidator.validate(svg), name).toBe(true);
    expect(svg, name).toContain('simulated device, 40 ms a sample');
    expect(svg, name).not.toContain('NaN');
  }
});

it('the page has the machine, the figures and the pictures, escaped', () => {
  const page = scalingPage(report);
  for (const part of ['A &lt;CPU&gt;', 'commit abc', '11,520', 'compute is a timed wait']) expect(page).toContain(part);
  // Each for wide windows and for phones.
  expect(page.match(/<svg /g)).toHaveLength(10);
});
