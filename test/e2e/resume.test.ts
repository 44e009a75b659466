/** A resumed run is the same as one that never stopped. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { launch, lossesOf, metricsOf, set, start, tiny, useFolder } from './launch.ts';

const folder = useFolder();
const schedule = ['schedule.decaySteps=80', 'schedule.warmupSteps=20', 'model.dropout=0.1'];
// Workers end with their coordinator: these tests are about checkpoints.
const overrides = [...tiny, ...schedule, 'comm.rejoinTimeoutMs=0'];

async function train(args: readonly string[], ...more: readonly string[]): Promise<void> {
  const result = await launch([...args, ...set(...more)], folder());
  expect(result.stderr).toBe('');
  expect(result.code).toBe(0);
}

function checkpoint(run: string, step: number, file = 'model.safetensors'): Promise<Buffer> {
  return readFile(join(folder(), run, 'checkpoints', `step-${String(step).padStart(8, '0')}`, file));
}

it.each(['float32', 'bf16'])('gives the same bytes after 40 + 40 steps as after 80, in %s', async (precision) => {
  const runDirs = ['--workers', '2', '--run-dir'];
  const [straight, halves] = [`straight-${precision}`, `halves-${precision}`];
  const options = [...overrides, `engine.precision=${precision}`];
  await train([...runDirs, straight], ...options, 'train.maxSteps=80');
  await train([...runDirs, halves], ...options, 'train.maxSteps=40');
  await train(['--resume', halves], 'train.maxSteps=80');
  expect((await checkpoint(halves, 80)).equals(await checkpoint(straight, 80))).toBe(true);
  for (const file of ['optimizer.safetensors', 'trainer.json']) {
    expect((await checkpoint(halves, 80, file)).equals(await checkpoint(straight, 80, file)), file).toBe(true);
  }
  expect(await lossesOf(join(folder(), halves))).toEqual(await lossesOf(join(folder(), straight)));
  const events = (await readFile(join(folder(), halves, 'events.jsonl'), 'utf8')).trimEnd().split('\n');
  const ofRun = events.map((line) => JSON.parse(line)).filter(({ worker }) => worker === undefined);
  expect(ofRun.map(({ event, step }) => `${event} ${step}`)).toEqual([
    'term 0',
    'finished 40',
    'resumed 40',
    'term 40',
    'finished 80',
  ]);
});

it('resumes with another precision, and says so', async () => {
  const end = 'train.maxSteps=30';
  await train(['--workers', '1', '--run-dir', 'float32'], ...overrides, end, 'checkpoint.everySteps=15');
  await train(['--workers', '1', '--run-dir', 'changed'], ...overrides, 'train.maxSteps=15');
  const result = await launch(['--resume', 'changed', ...set(end, 'engine.precision=bf16')], folder());
  expect(result).toMatchObject({ code: 0, stderr: '' });
  expect(result.stdout).toContain('engine.precision was float32 and is bf16 from now on');
  const expected = await lossesOf(join(folder(), 'float32'));
  for (const [i, loss] of (await lossesOf(join(folder(), 'changed'))).entries()) {
    expect(Math.abs(loss / expected[i]! - 1), `step ${i + 1}`).toBeLessThan(i < 15 ? 1e-9 : 0.01);
  }
});

it('continues after the samples it was trained on, and counts them, with another batch size from some step on', async () => {
  const batches = (size: number) => [`train.globalBatchSize=${size}`, 'train.microBatchSize=4'];
  // A model that does not change has the losses of its samples.
  const still = [...tiny, 'schedule.learningRate=0', 'schedule.minLearningRate=0', 'data.sampler=shuffled'];
  await train(['--workers', '1', '--run-dir', 'eights'], ...still, ...batches(8), 'train.maxSteps=10');
  await train(['--workers', '1', '--run-dir', 'batches'], ...still, ...batches(4), 'train.maxSteps=10');
  const resumed = await launch(['--resume', 'batches', ...set(...batches(8), 'train.maxSteps=15')], folder());
  expect(resumed).toMatchObject({ code: 0, stderr: '' });
  expect(resumed.stdout).toContain('train.globalBatchSize was 4 and is 8 from now on');
  const [eights, changed] = [await lossesOf(join(folder(), 'eights')), await lossesOf(join(folder(), 'batches'))];
  expect(changed.slice(10)).toEqual(eights.slice(5));
  const lines = (await readFile(join(folder(), 'batches', 'metrics.jsonl'), 'utf8')).trimEnd().split('\n');
  const tokens = lines.map((line) => JSON.parse(line)).filter(({ loss }) => loss !== undefined);
  const blockSize = tokens[0].tokens / 4;
  expect(tokens.map((line) => line.tokens / blockSize)).toEqual([
    ...Array.from({ length: 10 }, (_, i) => 4 * (i + 1)),
    ...Array.from({ length: 5 }, (_, i) => 40 + 8 * (i + 1)),
  ]);
  const trainer = JSON.parse((await checkpoint('batches', 15, 'trainer.json')).toString());
  expect(trainer.data.samplesSeen).toBe(80);
});

it('resumes from the newest complete checkpoint after SIGKILL at any moment', async () => {
  const options = ['train.maxSteps=120', 'checkpoint.everySteps=10', 'checkpoint.keep=2'];
  await train(['--workers', '2', '--run-dir', 'undisturbed'], ...overrides, ...options);
  const expected = await checkpoint('undisturbed', 120);
  let args = ['--workers', '2', '--run-dir', 'killed', ...set(...overrides, ...options)];
  for (const moment of [/step +12\//, /step +37\//, /step +40\/120 +checkpoint/, /step +71\//]) {
    const running = start(args, folder());
    await running.printed(moment);
    running.process.kill('SIGKILL');
    await running.finished;
    // The workers notice that nobody coordinates them any more.
    while ((await running.descendants()).length > 0) await new Promise((resolve) => setTimeout(resolve, 20));
    args = ['--resume', 'killed'];
  }
  const last = await launch(args, folder());
  expect(last.code).toBe(0);
  expect(last.stdout).toMatch(/resuming .*step-000000[67]0/);
  expect((await checkpoint('killed', 120)).equals(expected)).toBe(true);
  expect(await lossesOf(join(folder(), 'killed'))).toEqual(await lossesOf(join(folder(), 'undisturbed')));
});

it('resumes with another number of workers: the same samples, the same losses to 1e-4', async () => {
  await train(['--workers', '4', '--run-dir', 'four'], ...overrides, 'train.maxSteps=60', 'checkpoint.everySteps=30');
  const reference = await lossesOf(join(folder(), 'four'));
  for (const workers of ['1', '3']) {
    const run = `from-four-to-${workers}`;
    await train(['--workers', '4', '--run-dir', run], ...overrides, 'train.maxSteps=30');
    await train(['--resume', run, '--workers', workers], 'train.maxSteps=60');
    for (const [i, loss] of (await lossesOf(join(folder(), run))).entries()) {
      expect(Math.abs(loss / (reference[i] ?? 0) - 1), `step ${i + 1}`).toBeLessThan(1e-4);
    }
  }
});

it('has nothing to do where the run has come to its end, and says so', async () => {
  await train(['--workers', '1', '--run-dir', 'complete'], ...overrides, 'train.maxSteps=5');
  const before = await readFile(join(folder(), 'complete/metrics.jsonl'));
  const again = await launch(['--resume', 'complete'], folder());
  expect(again).toMatchObject({ code: 0, stderr: '', orphans: [] });
  expect(again.stdout).toMatch(/nothing left to train: .* step 5 of 5\. To continue, .*train\.maxSteps=10/);
  expect(again.stdout).not.toMatch(/workers? ready/);
  expect((await readFile(join(folder(), 'complete/metrics.jsonl'))).equals(before)).toBe(true);
});

it('begins again, with a warning, where the run has no checkpoint', async () => {
  const run = start(['--workers', '1', '--run-dir', 'young', ...set(...overrides, 'train.maxSteps=100000')], folder());
  await run.printed(/step +2\//);
  run.process.kill('SIGKILL');
  await run.finished;
  const result = await launch(['--resume', 'young', ...set('train.maxSteps=4')], folder());
  expect(result.code).toBe(0);
  expect(result.stderr).toMatch(/has no checkpoint yet: the run starts from the beginning/);
  expect(await lossesOf(join(folder(), 'young'))).toHaveLength(4);
});

it('skips a damaged checkpoint, and says so', async () => {
  await train(
    ['--workers', '1', '--run-dir', 'damaged'],
    ...overrides,
    'train.maxSteps=20',
    'checkpoint.everySteps=10',
  );
  const { writeFile } = await import('node:fs/promises');
  await writeFile(join(folder(), 'damaged/checkpoints/step-00000020/model.safetensors'), 'nonsense');
  const result = await launch(['--resume', 'damaged', ...set('train.maxSteps=21')], folder());
  expect(result.stderr).toMatch(/skipped the checkpoint of step 20: .*model\.safetensors/);
  expect(result.stdout).toMatch(/resuming .*step-00000010/);
  expect(result.code).toBe(0);
});

it.each([
  ['another model', ['model.nLayer=3'], /model\.nLayer = 2, but the config says 3/],
  ['another seed', ['train.seed=7'], /train\.seed 1337, not 7/],
  ['another text', ['data.valFraction=0.2'], /the text has changed/],
  ['another tokenizer', ['data.tokenizer=byte'], /trained with data\.tokenizer: char, but the config says byte/],
])('refuses to resume with %s', async (_, changes, message) => {
  await launch(['--workers', '1', '--run-dir', 'fixed', ...set(...overrides, 'train.maxSteps=3')], folder());
  const result = await launch(['--resume', 'fixed', ...set(...changes)], folder());
  expect(result.code).toBe(2);
  expect(result.stderr).toMatch(message);
});

it('evaluates first what a run that was asked to end had left, and a last step that was not evaluated', async () => {
  const runDir = 'asked';
  const path = join(folder(), runDir);
  const often = ['eval.everySteps=1', 'eval.batches=1', 'train.maxSteps=100000'];
  const running = start(['--single-process', '--run-dir', runDir, ...set(...tiny, ...often)], folder());
  await running.printed(/step +5\//);
  running.process.kill('SIGTERM');
  expect(await running.finished).toMatchObject({ code: 130, stderr: '' });
  const evaluated = async () =>
    (await metricsOf(path)).flatMap((line) => ('valLoss' in line ? [[line.step, line['valLoss']]] : []));
  const steps = (await lossesOf(path)).length;
  // That of the last step is left, unless the signal came while the run was already past it.
  expect((await evaluated()).length - steps).toBeOneOf([-1, 0]);
  const resume = () =>
    launch(['--single-process', '--resume', runDir, ...set(`train.maxSteps=${steps + 1}`)], folder());
  expect(await resume()).toMatchObject({ code: 0, stderr: '' });
  const all = await evaluated();
  expect(all.map(([step]) => step)).toEqual(Array.from({ length: steps + 1 }, (_, i) => i + 1));

  // As if it had been killed when it had saved its last step.
  const metrics = await readFile(join(path, 'metrics.jsonl'), 'utf8');
  await writeFile(join(path, 'metrics.jsonl'), metrics.replace(/^.*"valLoss".*\n$(?![\s\S])/m, ''));
  expect(await evaluated()).toHaveLength(steps);
  expect(await resume()).toMatchObject({ code: 0, stderr: '' });
  expect(await evaluated()).toEqual(all);
});
