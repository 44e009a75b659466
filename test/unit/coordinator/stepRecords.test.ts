import { describe, expect, it } from 'vitest';
import { configSchema } from '../../../src/config/schema.ts';
import { type CoordinatorOptions, progressBefore } from '../../../src/coordinator/coordinatorOptions.ts';
import { evaluationMetrics, StepRecords } from '../../../src/coordinator/stepRecords.ts';

const config = configSchema.parse({ model: { blockSize: 16 }, train: { globalBatchSize: 8, microBatchSize: 4 } });
/** Samples of text. */
const counted = { sampleLimit: Number.POSITIVE_INFINITY, tokensIn: (samples: number) => 16 * samples };
const sums = { weight: 128, loss: 256 };
const committed = (step: number) => {
  const effect = {
    kind: 'committed',
    term: 1,
    step,
    learningRate: 0.1,
    sums,
    gradNorm: 1,
    ranks: [],
    hold: false,
  } as const;
  return effect;
};
const done = (step: number) => ({ ...committed(step), kind: 'stepDone' }) as const;
/** A run whose first 10 steps had 4 sequences each, and of which the journal knows two more, of 6. */
const before = {
  config,
  resume: { trainer: { step: 10, data: { sha256: '', samplesSeen: 40 } } },
  resumed: { term: 1, step: 12, committedTerm: 1, gradNorm: 1, learningRate: 0.1, tokens: 832, workers: [] },
} as unknown as CoordinatorOptions;

it('counts what was trained on, with another batch size before', () => {
  const records = new StepRecords(
    config,
    0,
    progressBefore({ ...before, resumed: undefined } as unknown as CoordinatorOptions),
    { counted },
  );
  expect(records.tokensAfter(10)).toBe(640);
  expect(records.commit(committed(11), 500)).toMatchObject({ step: 11, tokens: 640 + 128 });
  expect(records.metrics(done(12), 1_000)).toMatchObject({ step: 12, tokens: 640 + 256, tokensPerSecond: 256 });
});

it('continues from the journal, or from the checkpoint when that is all there is', () => {
  const records = new StepRecords(config, 0, progressBefore(before), { counted });
  expect([12, 13].map((step) => records.tokensAfter(step))).toEqual([832, 960]);
  records.rewind(10);
  expect([10, 11, 13].map((step) => records.tokensAfter(step))).toEqual([640, 768, 1_024]);
});

it('counts the steps of workers that are further than the journal with the former batch size', () => {
  const resumed = { ...before.resumed, samples: 52, globalBatchSize: 6 };
  const records = new StepRecords(config, 0, progressBefore({ ...before, resumed } as CoordinatorOptions), { counted });
  // The journal ends at step 12, and the run continues after step 14.
  expect(records.samplesAfter(14)).toBe(52 + 2 * 6);
  records.settle(14);
  expect([12, 14, 15].map((step) => records.samplesAfter(step))).toEqual([52, 64, 72]);
  records.rewind(10);
  records.settle(10);
  expect([10, 14].map((step) => records.samplesAfter(step))).toEqual([40, 72]);
});

it('counts from nothing in a run that begins', () => {
  const records = new StepRecords(config, 0, progressBefore({ config } as CoordinatorOptions), { counted });
  expect(records.commit(committed(3), 0)).toMatchObject({ tokens: 3 * 128 });
});

const newRecords = () => new StepRecords(config, 0, progressBefore({ config } as CoordinatorOptions), { counted });
const ranks = [{ rank: 0, sampleFrom: 0, sampleCount: 8 }];
const step = { step: 1, term: 1, learningRate: 0.1, gradNorm: 2 };

it('the loss is the sum of the losses over what the targets weigh, in the journal and in the metrics', () => {
  const records = newRecords();
  const given = { weight: 5, loss: 10 };
  const record = records.commit({ kind: 'committed', ...step, sums: given, ranks, hold: false }, 500);
  expect(record).toMatchObject({ kind: 'commit', loss: 2 });
  const line = records.metrics({ kind: 'stepDone', ...step, sums: given, ranks: [] }, 1_000);
  expect(line).toMatchObject({ loss: 2, ranks });
  // An objective without other sums logs nothing more.
  expect(record).not.toHaveProperty('means');
  expect(line).not.toHaveProperty('means');
});

it('other sums of an objective become means beside the loss', () => {
  const records = newRecords();
  const given = { weight: 4, loss: 8, correct: 1 };
  const means = { correct: 0.25 };
  expect(records.commit({ kind: 'committed', ...step, sums: given, ranks, hold: false }, 500)).toMatchObject({
    loss: 2,
    means,
  });
  expect(records.metrics({ kind: 'stepDone', ...step, sums: given, ranks: [] }, 1_000)).toMatchObject({
    loss: 2,
    means,
  });
  const line = { step: 3, valLoss: 2, valTargets: 4, means };
  for (const objective of ['next-token', 'packed-tokens']) {
    const expected = { ...line, valPerplexity: Math.exp(2) };
    expect(evaluationMetrics(3, given, { objective, text: undefined })).toEqual(expected);
  }
  // Perplexity is a measure of predicted tokens.
  for (const objective of ['dpo', 'reward', 'classes']) {
    expect(evaluationMetrics(3, given, { objective, text: undefined })).toEqual(line);
  }
});

it('an evaluation has bits per byte where the bytes of its targets are known, which those of a part are not', () => {
  const sums = { weight: 4, loss: 4 * Math.LN2 };
  const objective = 'next-token';
  expect(evaluationMetrics(3, sums, { objective, text: { bytes: 8, targets: 4 } }).valBitsPerByte).toBeCloseTo(0.5, 12);
  expect(evaluationMetrics(3, sums, { objective, text: { bytes: 8, targets: 5 } })).not.toHaveProperty(
    'valBitsPerByte',
  );
});

describe('the time of a step', () => {
  const timings = { dataWaitMs: 0, forwardBackwardMs: 900, ringWaitMs: 0, commitWaitMs: 0, optimizerMs: 100 };
  const applied = [{ rank: 0, step: 1, timings, ringBytesSent: 0, parameterHash: undefined }];
  const finished = (at: number) => ({ ...done(at), ranks: applied });
  const tokens = 16 * 8;

  it('goes from commit to commit, however late anyone hears that a step is applied', () => {
    const records = newRecords();
    records.begin(0);
    records.commit(committed(1), 1_000);
    // Step 2 is nearly done when the coordinator hears of the end of step 1.
    const first = records.metrics(finished(1), 1_900);
    records.commit(committed(2), 2_000);
    const second = records.metrics(finished(2), 2_100);
    expect([first, second].map(({ tokensPerSecond }) => tokens / tokensPerSecond)).toEqual([1, 1]);
  });

  it('gives an mfu of the complete step where it began before the last one was reported', () => {
    // Half of what the machine could do in a second.
    const peak = configSchema.parse({
      model: { blockSize: 16 },
      train: { globalBatchSize: 8, microBatchSize: 4, peakTflops: 1 },
    });
    const records = new StepRecords(peak, 0, progressBefore({ config: peak } as CoordinatorOptions), {
      counted,
      tokenFlops: 0.5e12 / tokens,
    });
    records.commit(committed(1), 1_000);
    records.metrics(finished(1), 1_900);
    records.commit(committed(2), 2_000);
    expect(records.metrics(finished(2), 2_000).mfu).toBeCloseTo(0.5, 12);
  });

  it('has nothing of what came before a resumed run began to step', () => {
    const records = new StepRecords(config, 0, progressBefore(before), { counted });
    records.begin(96_000);
    records.commit(committed(13), 97_000);
    expect(tokens / records.metrics(finished(13), 97_100).tokensPerSecond).toBe(1);
  });

  it('has the update of a step before a pause, and none of the pause', () => {
    const records = newRecords();
    records.begin(0);
    records.commit({ ...committed(1), hold: true }, 1_000);
    const before = records.metrics(finished(1), 1_250);
    records.begin(5_000);
    records.commit(committed(2), 5_500);
    const after = records.metrics(finished(2), 5_600);
    expect([before, after].map(({ tokensPerSecond }) => tokens / tokensPerSecond)).toEqual([1.25, 0.5]);
  });

  it('ends at the commit where nobody is left to say that it is applied', () => {
    const records = newRecords();
    records.commit({ ...committed(1), hold: true }, 1_000);
    expect(tokens / records.metrics(done(1), 60_000).tokensPerSecond).toBe(1);
  });
});
