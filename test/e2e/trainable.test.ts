/**
 * A run that trains some parameters and averages them: the others keep their bits, and a worker that resumes or joins continues with the
 * same.
 */
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it, vi } from 'vitest';
import { isTrainedBy } from '../../src/architecture/trainable.ts';
import type { Checkpoint } from '../../src/checkpoint/checkpoint.ts';
import { openCheckpoint } from '../../src/checkpoint/openCheckpoint.ts';
import { createEngine } from '../../src/engine/registry.ts';
import { parameterSpecs } from '../../src/model/parameterOrder.ts';
import { Parameters } from '../../src/model/parameterStore.ts';
import { signal, stepsOf } from '../fault/elasticRun.ts';
import { launch, lossesOf, metricsOf, set, start, tiny, useFolder } from './launch.ts';

const folder = useFolder();
const trainable = ['transformer.h.1.*', 'transformer.ln_f.*'];
const config = [
  ...tiny,
  `train.trainable=${JSON.stringify(trainable)}`,
  'optimizer.ema=0.9',
  'model.dropout=0.1',
  'schedule.decaySteps=60',
];

async function train(args: readonly string[], ...overrides: readonly string[]): Promise<void> {
  const result = await launch([...args, ...(overrides.length > 0 ? set(...overrides) : [])], folder());
  expect(result).toMatchObject({ code: 0, stderr: '', orphans: [] });
}

const checkpointOf = (run: string, step: number) =>
  join(folder(), run, 'checkpoints', `step-${String(step).padStart(8, '0')}`);

/** By name, as the bits are in the file. */
async function tensorsOf(checkpoint: Checkpoint, part: 'model' | 'weights'): Promise<Map<string, Buffer>> {
  const tensors = new Map<string, Buffer>();
  for (const { name } of checkpoint.tensors) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of checkpoint.stream(part, [name])) chunks.push(chunk);
    tensors.set(name, Buffer.concat(chunks));
  }
  return tensors;
}

/** The parameters that the seed gives. */
async function initialOf(path: string): Promise<Map<string, Buffer>> {
  const { modelConfig, trainer } = await openCheckpoint(path);
  const engine = await createEngine({ name: 'native' });
  const parameters = new Parameters(engine, parameterSpecs(modelConfig), { training: false });
  parameters.initialise(trainer!.seed);
  const tensors = new Map<string, Buffer>();
  for (const [index, { name, size }] of parameters.specs.entries()) {
    const values = new Float32Array(size);
    await parameters.readTensor('params', index, values);
    tensors.set(name, Buffer.from(values.buffer));
  }
  await engine.dispose();
  return tensors;
}

async function expectFrozenAsInitial(path: string): Promise<void> {
  const checkpoint = await openCheckpoint(path);
  const { modelConfig, moments } = checkpoint;
  const [now, initial] = [await tensorsOf(checkpoint, 'model'), await initialOf(path)];
  for (const spec of parameterSpecs(modelConfig)) {
    const isTrained = isTrainedBy(trainable)(spec);
    expect(now.get(spec.name)!.equals(initial.get(spec.name)!), spec.name).toBe(!isTrained);
    expect(moments.includes(spec.name), spec.name).toBe(isTrained);
  }
}

beforeAll(async () => {
  const evaluated = ['eval.everySteps=60', 'eval.batches=0'];
  await train(['--workers', '3', '--run-dir', 'straight'], ...config, ...evaluated, 'train.maxSteps=60');
});

it('evaluates the average, which is the model in the checkpoint', async () => {
  const { valLoss } = (await metricsOf(join(folder(), 'straight'))).find((line) => line.valLoss !== undefined)!;
  const evaluated = await launch(['eval', '--checkpoint', 'straight', '--json'], folder());
  expect(JSON.parse(evaluated.stdout).loss / valLoss!).toBeCloseTo(1, 5);
  const checkpoint = await openCheckpoint(checkpointOf('straight', 60));
  const [averages, weights] = [await tensorsOf(checkpoint, 'model'), await tensorsOf(checkpoint, 'weights')];
  for (const name of checkpoint.moments) expect(averages.get(name)!.equals(weights.get(name)!), name).toBe(false);
});

it('leaves the frozen parameters as they were, and writes no moments of them', async () => {
  await expectFrozenAsInitial(checkpointOf('straight', 60));
});

it('resumes to the same bytes after all its processes were killed', async () => {
  const settings = [...config, 'checkpoint.everySteps=20', 'train.maxSteps=60'];
  const running = start(['--workers', '3', '--run-dir', 'halves', ...set(...settings)], folder());
  await running.printed(/step +3\d\//);
  // It is written while training continues; without one, a resume would start again, as it may with other settings.
  await vi.waitFor(() => access(checkpointOf('halves', 20)), { timeout: 30_000, interval: 20 });
  const workers = await running.descendants();
  for (const pid of [running.process.pid!, ...workers]) signal(pid, 'SIGKILL');
  await running.finished;
  const refused = await launch(['--resume', 'halves', ...set('train.maxSteps=60', 'train.trainable=all')], folder());
  expect(refused.code).toBe(2);
  expect(refused.stderr).toMatch(/transformer\.wte\.weight was frozen, but with train\.trainable: "all" it is trained/);
  await train(['--resume', 'halves']);
  for (const file of ['model.safetensors', 'optimizer.safetensors']) {
    const [halves, straight] = ['halves', 'straight'].map((run) => readFile(join(checkpointOf(run, 60), file)));
    expect((await halves!).equals(await straight!), file).toBe(true);
  }
  expect(await lossesOf(join(folder(), 'halves'))).toEqual(await lossesOf(join(folder(), 'straight')));
});

it('has the losses of 3 workers with 1, and where another joins while it trains', async () => {
  const joinable = ['--listen', 'tcp://127.0.0.1:0', '--no-encrypt', '--workers', '1', '--run-dir', 'joined'];
  const running = start([...joinable, ...set(...config, 'train.maxSteps=1000000')], folder());
  const [, address = ''] = await running.printed(/^listening on (\S+)/m);
  const joined = start(['join', address], folder());
  const lastStep = async () => (await stepsOf(join(folder(), 'joined'))).at(-1);
  const isSeen = { step: expect.toSatisfy((step: number) => step >= 60), ranks: [{ rank: 0 }, { rank: 1 }] };
  await vi.waitFor(async () => expect(await lastStep()).toMatchObject(isSeen), { timeout: 60_000, interval: 100 });
  running.process.kill('SIGINT');
  expect(await running.finished).toMatchObject({ code: 130, stderr: '' });
  expect(await joined.finished).toMatchObject({ code: 0, stderr: '' });
  const steps = (await metricsOf(join(folder(), 'joined'))).filter(({ ranks }) => ranks !== undefined);
  expect([steps[0]!.ranks!.length, steps.at(-1)!.ranks!.length]).toEqual([1, 2]);
  await expectFrozenAsInitial(checkpointOf('joined', steps.at(-1)!.step));
  for (const [i, loss] of (await lossesOf(join(folder(), 'straight'))).entries()) {
    expect(Math.abs(steps[i]!.loss! / loss - 1), `step ${i + 1}`).toBeLessThan(1e-4);
  }
});
