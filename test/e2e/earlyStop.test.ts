/** Runs that end by what they measure: a validation loss that falls no more, over a resume too, and a sweep of the learning rate. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { findCheckpoint } from '../../src/run/findCheckpoint.ts';
import { launch, metricsOf, set, tiny, useFolder } from './launch.ts';

const folder = useFolder();
// Without a learning rate every evaluation is like the first, which therefore is the best.
const still = ['schedule.learningRate=0', 'schedule.minLearningRate=0', 'eval.everySteps=5', 'eval.batches=2'];

it('stops after eval.stopAfter evaluations, those before a resume included', async () => {
  const runDir = join('runs', 'still');
  const overrides = set(...tiny, ...still, 'eval.stopAfter=2', 'checkpoint.keep=1', 'train.maxSteps=10');
  const begun = await launch(['--single-process', '--run-dir', runDir, ...overrides], folder());
  expect(begun).toMatchObject({ code: 0, stderr: '' });
  const resumed = await launch(['--single-process', '--resume', runDir, ...set('train.maxSteps=1000')], folder());
  expect(resumed).toMatchObject({ code: 0, stderr: '' });
  const steps = (await metricsOf(join(folder(), runDir))).map(({ step }) => step);
  expect(Math.max(...steps)).toBe(15);
  expect(resumed.stdout).toMatch(
    /^the validation loss has not fallen in 2 evaluations: .* at step 5, .*; the run ends early \(eval.stopAfter is 2\)$/m,
  );
  const best = /^best validation loss (\d\.\d{4}) at step 5, \1 at the end: .* generate runs\/still --best$/m;
  expect(resumed.stdout).toMatch(best);

  // checkpoint.keep is 1: the newest, and the best.
  const checkpoints = await readdir(join(folder(), runDir, 'checkpoints'));
  expect(checkpoints.sort()).toEqual(['step-00000005', 'step-00000015']);
  const generated = await launch(['generate', '--best', '--max-tokens', '1'], folder());
  expect(generated.stderr).toContain('step-00000005 (step 5, validation loss');

  const listed = JSON.parse((await launch(['runs', '--json'], folder())).stdout);
  expect(listed.runs).toMatchObject([
    { name: 'still', status: 'stopped', step: 15, maxSteps: 1000, best: { step: 5 } },
  ]);
});

it('names the weights that a run began with if they were the best, keeps them, and --best takes them', async () => {
  const half = set(
    ...tiny,
    ...still,
    'eval.everySteps=1',
    'checkpoint.keep=1',
    'train.maxSteps=3',
    'sample.maxTokens=0',
  );
  const from = ['--init-from', 'runs/still', '--run-dir', 'worse'];
  const run = await launch(['--single-process', ...from, ...half], folder());
  expect(run.stdout).toMatch(
    /^best validation loss (\d\.\d{4}) at step 0, before training, \1 at the end: .* generate worse --best$/m,
  );
  const best = await findCheckpoint({
    path: 'worse',
    best: true,
    cwd: folder(),
    verify: 'all',
    onWarning: expect.unreachable,
  });
  expect(best.step).toBe(0);
  const checkpoints = await readdir(join(folder(), 'worse', 'checkpoints'));
  expect(checkpoints.sort()).toEqual(['step-00000000', 'step-00000003']);
});

it('says that the weights of the best evaluation were not kept, if they have no checkpoint', async () => {
  const once = ['eval.everySteps=1', 'checkpoint.keep=1', 'train.maxSteps=4', 'eval.batches=2'];
  const rates = ['schedule.learningRate=0', 'schedule.minLearningRate=0', 'sample.maxTokens=0'];
  const run = await launch(['--single-process', '--run-dir', 'lost', ...set(...tiny, ...rates, ...once)], folder());
  expect(run.stdout).toMatch(
    /^best validation loss (\d\.\d{4}) at step 1, \1 at the end: its weights were not kept; checkpoint\.best=true keeps/m,
  );
});

it('ends a sweep of the learning rate with a plot and a suggestion', async () => {
  const rates = [
    'schedule.kind=sweep',
    'schedule.minLearningRate=1e-4',
    'schedule.learningRate=100',
    'train.maxSteps=80',
  ];
  const swept = await launch(['--single-process', '--run-dir', 'sweep', ...set(...tiny, ...rates)], folder());
  expect(swept).toMatchObject({ code: 0, stderr: '' });
  const suggestion = /; suggested schedule\.learningRate: (\d\.\de[+-]\d), a tenth of it \(sweep\/sweep\.svg\)$/m;
  const rate = Number(suggestion.exec(swept.stdout)?.[1]);
  expect(rate, swept.stdout).toBeGreaterThan(1e-4);
  expect(rate).toBeLessThan(1);
  expect(await readFile(join(folder(), 'sweep', 'sweep.svg'), 'utf8')).toContain('Training loss at each learning rate');
});
