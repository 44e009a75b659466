/**
 * The losses of a run beside PyTorch's: both start from the same weights, which the run writes as its checkpoint of step 0, and learn
 * from the same batches with the same optimizer. What remains is the rounding of float32.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WeighedBatch } from '../../src/base/batch.ts';
import { UserError } from '../../src/base/errors.ts';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { stepFolderName } from '../../src/checkpoint/folderNames.ts';
import { learningRateAt } from '../../src/coordinator/core/schedule.ts';
import { prepareRun, type Run } from '../../src/run/prepareRun.ts';
import { train } from '../../src/run/train.ts';
import { asTokenBatch } from '../../src/task/nextToken.ts';
import { PeerProcess } from '../peerProcess.ts';

/** What is compared. */
export interface CurveOptions {
  /** A shipped config's name or the path of a YAML file; its model must start from weights (`model.from`). */
  readonly config: string;
  /** Each `group.key=value`, as `--set` takes it. */
  readonly overrides: readonly string[];
  /** A Python with torch and transformers. */
  readonly python: string;
}

/** The loss of one step in both programs, in nats per target, before its update. */
export interface CurvePoint {
  readonly step: number;
  readonly loss: number;
  readonly peerLoss: number;
}

export interface Curve {
  /** The version of PyTorch. */
  readonly version: string;
  readonly points: readonly CurvePoint[];
}

/** @throws UserError for a run that PyTorch cannot repeat @throws PeerError if PyTorch ends */
export async function compareCurves(
  { config, overrides, python }: CurveOptions,
  onProgress: (done: number) => void,
): Promise<Curve> {
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-curve-'));
  try {
    const set = [
      ...overrides,
      'eval.everySteps=0',
      'sample.maxTokens=0',
      'checkpoint.everySteps=0',
      'checkpoint.keep=2',
    ];
    const runDir = join(folder, 'run');
    const run = await prepare(config, set);
    const { maxSteps } = run.config.train;
    const losses: number[] = [];
    await train({
      config,
      overrides: set,
      runDir,
      singleProcess: true,
      listener: {
        step({ step, loss }) {
          losses.push(loss);
          onProgress(step / maxSteps / 2);
        },
      },
    });
    const start = join(runDir, 'checkpoints', stepFolderName(0));
    const { version, peerLosses } = await peerCurve(python, start, run, (done) => onProgress((1 + done) / 2));
    return {
      version,
      points: losses.map((loss, index) => ({ step: index + 1, loss, peerLoss: peerLosses[index]! })),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The run's config and data, which it makes again. */
async function prepare(config: string, set: readonly string[]): Promise<Run> {
  const run = await prepareRun({ config, set, singleProcess: true, encrypt: true, dryRun: true }, process.cwd(), {
    note: () => undefined,
    warn: (line) => void process.stderr.write(`warning: ${line}\n`),
    progress: () => () => undefined,
  });
  const { model } = run.config;
  if (run.weights === undefined) throw new UserError('PyTorch needs weights to start from: set model.from');
  if (model.architecture !== 'gpt2' || model.dropout > 0) {
    throw new UserError('PyTorch can only repeat a GPT-2 without dropout, whose masks differ: set model.dropout=0');
  }
  return run;
}

async function peerCurve(
  python: string,
  model: string,
  { config, data }: Run,
  onProgress: (done: number) => void,
): Promise<{ version: string; peerLosses: number[] }> {
  const { train: trainKeys, model: modelKeys, schedule, optimizer } = config;
  const { maxSteps, seed, globalBatchSize, epochs } = trainKeys;
  const { blockSize } = modelKeys;
  const samples = data.training({ seed, globalBatchSize, blockSize, epochs, sampler: config.data.sampler });
  const script = join(packageRoot, 'bench', 'peers', 'pytorchCurve.py');
  const args = [script, '--model', model, '--optimizer', JSON.stringify(optimizer)];
  const peer = new PeerProcess({ name: 'PyTorch', file: python, args });
  try {
    const version = (await peer.line()).replace(/^ready /, '');
    const peerLosses: number[] = [];
    for (let step = 0; step < maxSteps; step++) {
      const learningRate = learningRateAt(step, { ...schedule, decaySteps: schedule.decaySteps || maxSteps });
      const line = JSON.stringify({ learningRate, ...rowsOf(samples.batch(step)) });
      peerLosses.push(await peer.askNumber(line, 'loss'));
      onProgress((step + 1) / maxSteps);
    }
    return { version, peerLosses };
  } finally {
    peer.close();
  }
}

/** Tokens and targets, row by row. @throws InvariantError for samples of another form */
function rowsOf(batch: WeighedBatch): { tokens: number[][]; targets: number[][] } {
  const { tokens, targets } = asTokenBatch(batch).arrays;
  const length = tokens.shape[0]!;
  const rows = (data: Int32Array) =>
    Array.from({ length: batch.sampleCount }, (_, row) => [...data.subarray(row * length, (row + 1) * length)]);
  return { tokens: rows(tokens.data), targets: rows(targets.data) };
}
