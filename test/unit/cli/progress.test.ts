import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CheckpointSamples } from '../../../src/cli/checkpointSamples.ts';
import { jsonListener } from '../../../src/cli/jsonLines.ts';
import { openLiveView } from '../../../src/cli/live/liveView.ts';
import { bytes, duration, progressPrinter } from '../../../src/cli/progress.ts';
import type { StepMetrics } from '../../../src/records/metricsLog.ts';

let out: string[] = [];
let err: string[] = [];
beforeEach(() => {
  out = [];
  err = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => out.push(String(text)) > 0);
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => err.push(String(text)) > 0);
});
afterEach(() => vi.restoreAllMocks());

const metrics = (step: number, tokensPerSecond = 1_000): StepMetrics => ({
  step,
  loss: 2.34567,
  lr: 0.001,
  gradNorm: 1.234,
  tokens: step * 100,
  tokensPerSecond,
  term: 1,
  ranks: [],
});
const printer = (maxSteps = 100) => progressPrinter({ maxSteps, logEverySteps: 10, stepTokens: 100 });
const stepsPrinted = () => out.map((line) => Number(/step +(\d+)\//.exec(line)?.[1]));

describe('the progress of a run', () => {
  it('shows the first step, every tenth, and the last', () => {
    const { step } = printer(25);
    for (let i = 1; i <= 25; i++) step(metrics(i));
    expect(stepsPrinted()).toEqual([1, 10, 20, 25]);
  });

  it('shows the first step of a resumed run too', () => {
    const { step } = printer();
    for (let i = 43; i <= 51; i++) step(metrics(i));
    expect(stepsPrinted()).toEqual([43, 50]);
  });

  it('says loss, rate, norm, speed and the time left', () => {
    printer().step(metrics(40));
    expect(out).toEqual(['step  40/100  loss 2.3457  lr 1.00e-3  grad norm 1.23  1,000 tokens/s  0:06 left\n']);
  });

  it('averages times: a step of ten times the length adds nine tenths to the time left', () => {
    const { step } = printer();
    step(metrics(1, 1_000));
    for (let i = 2; i < 10; i++) step(metrics(i, 1_000));
    step(metrics(10, 100));
    expect(out.at(-1)).toContain('526 tokens/s  0:17 left');
  });

  it('takes another number of steps, which a resumed run of epochs may have', () => {
    const { step, lengthChanged } = printer(11);
    lengthChanged?.(13);
    for (let i = 11; i <= 13; i++) step(metrics(i));
    expect(out.map((line) => line.replace(/ {2}loss.*tokens\/s/, ''))).toEqual([
      'step 11/13  0:00 left\n',
      'step 13/13  0:00 left\n',
    ]);
  });

  it('takes it in the live view and in JSON lines too', () => {
    const stream = Object.assign(new PassThrough(), { columns: 80, rows: 24 }) as unknown as NodeJS.WriteStream;
    const facts = { maxSteps: 11, logEverySteps: 10, stepTokens: 100, startStep: 10, state: () => undefined };
    const { listener, close } = openLiveView({ ...facts, stream });
    listener.lengthChanged?.(13);
    listener.step?.(metrics(12));
    close();
    jsonListener.lengthChanged?.(13);
    expect(out).toEqual([expect.stringMatching(/^step 12\/13 {2}loss/), '{"type":"length","maxSteps":13}\n']);
  });

  it('makes no sample of the last checkpoint, whose run writes one itself', async () => {
    const hold = vi.fn(() => async () => {});
    const path = join(tmpdir(), 'lockstep-no-samples.jsonl');
    const options = { path, prompt: 'a', isTarget: false, maxTokens: 8, onWarning: () => {} };
    const samples = new CheckpointSamples({ ...options, store: { hold }, lastStep: 11 });
    samples.lengthChanged(13);
    samples.checkpoint({ step: 13, path: '/runs/x/checkpoints/step-00000013' });
    await samples.close();
    expect(hold).not.toHaveBeenCalled();
  });

  it('tells of checkpoints on standard output, and of failed ones on standard error', () => {
    const { checkpoint } = printer();
    checkpoint({ step: 5, path: '/runs/x/checkpoints/step-00000005' });
    checkpoint({ step: 6, error: 'the disk is full' });
    expect(out).toEqual(['step   5/100  checkpoint step-00000005\n']);
    expect(err).toEqual([
      expect.stringMatching(/^warning: the checkpoint of step 6 was not written: the disk is full\. /),
    ]);
  });
});

it('shows what an objective measures besides its loss', () => {
  const line = { step: 20, valLoss: 0.25, valPerplexity: 1.284, valTargets: 100, means: { accuracy: 0.9125 } };
  printer().evaluated(line);
  expect(out).toEqual(['step  20/100  validation loss 0.2500  perplexity 1.2840  accuracy 0.9125\n']);
  out.length = 0;
  const { valPerplexity: _, ...pairs } = line;
  printer().evaluated(pairs);
  expect(out).toEqual(['step  20/100  validation loss 0.2500  accuracy 0.9125\n']);
});

it.each([
  [0, '0:00'],
  [59.6, '1:00'],
  [3_599, '59:59'],
  [3_600, '1:00:00'],
  [90_061, '25:01:01'],
  [-3, '0:00'],
])('%d seconds are %s', (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});

it.each([
  [0, '0 B'],
  [1_023, '1023 B'],
  [1_024, '1.0 KiB'],
  [1.5 * 2 ** 30, '1.5 GiB'],
  [2 ** 60, '1048576.0 TiB'],
])('%d bytes are %s', (count, text) => {
  expect(bytes(count)).toBe(text);
});
