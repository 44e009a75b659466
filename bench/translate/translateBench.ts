/**
 * Translation beside PyTorch: one run and its repetition there, from the same initial weights, with the same batches and the same optimizer.
 * What remains is the rounding of float32. Both then translate rows that they have not seen.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { networkOf } from '../../src/architecture/registry.ts';
import type { Batch } from '../../src/base/batch.ts';
import { PeerError, UserError } from '../../src/base/errors.ts';
import { grouped } from '../../src/base/numberText.ts';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { fixed, numberColumn, tableHeading, tableRow } from '../../src/bench/table.ts';
import { modelOf } from '../../src/config/groups/model.ts';
import { learningRateAt } from '../../src/coordinator/core/schedule.ts';
import { createEngine } from '../../src/engine/registry.ts';
import { Parameters } from '../../src/model/parameterStore.ts';
import { evaluateAnswers } from '../../src/run/evaluateAnswers.ts';
import { type AnswersEvaluation, evaluateRows } from '../../src/run/evaluateRows.ts';
import { loadModel } from '../../src/run/loadModel.ts';
import { prepareRun, type Run } from '../../src/run/prepareRun.ts';
import { train } from '../../src/run/train.ts';
import { answersBleu } from '../../src/task/bleu.ts';
import { asTokenBatch } from '../../src/task/nextToken.ts';
import { sequenceEnds, sourceOf, sourceTokens } from '../../src/task/seq2seq.ts';
import { PeerProcess } from '../peerProcess.ts';
import type { Verse } from './verses.ts';

export interface TranslateBenchOptions {
  readonly rows: readonly Verse[];
  /** Number of rows that are not trained on, to validate. */
  readonly heldOut: number;
  /** Number of these that are translated. */
  readonly translated: number;
  /** A Python with torch and numpy. */
  readonly python: string;
  /** Each `group.key=value`, as `--set` takes it. */
  readonly overrides: readonly string[];
}

/** What one program made of the run. */
export interface TranslateResult {
  /** Mean over the targets of the rows held out, in nats. */
  readonly valLoss: number;
  /** BLEU of greedy translations of such rows. */
  readonly bleu: number;
  /** The time of training. */
  readonly seconds: number;
}

export interface TranslateReport {
  readonly rows: number;
  readonly steps: number;
  readonly parameters: number;
  readonly lockstep: TranslateResult;
  readonly pytorch: TranslateResult & { readonly version: string };
  /** The largest difference of the losses of a step. */
  readonly largestDifference: number;
}

const settings = [
  ...['model.encoderLayers=2', 'model.nLayer=2', 'model.nHead=4', 'model.nEmbd=128', 'model.blockSize=64'],
  ...['data.tokenizer=bpe:4000', 'data.examples=rest.jsonl', 'data.validation=test.jsonl', 'task.tooLong=drop'],
  ...['train.epochs=1', 'train.globalBatchSize=32', 'train.microBatchSize=32', 'train.workers=1'],
  ...['schedule.learningRate=0.001', 'schedule.warmupSteps=100', 'schedule.minLearningRate=0.0001'],
  ...['eval.everySteps=0', 'sample.maxTokens=0', 'checkpoint.everySteps=0', 'train.logEverySteps=1000'],
];

/** @throws UserError for too few rows, and for a model that the script in Python does not compute @throws PeerError if PyTorch ends */
export async function runTranslateBench(
  { rows, heldOut, translated, python, overrides }: TranslateBenchOptions,
  onProgress: (what: string, done: number) => void,
): Promise<TranslateReport> {
  if (rows.length < 2 * heldOut) {
    throw new UserError(`found ${rows.length} rows, expected at least twice the ${heldOut} to hold out`);
  }
  const cwd = await mkdtemp(join(tmpdir(), 'lockstep-translate-'));
  try {
    const test = rows.slice(0, heldOut);
    for (const [name, some] of Object.entries({ test, rest: rows.slice(heldOut) })) {
      await writeFile(join(cwd, `${name}.jsonl`), some.map((row) => `${JSON.stringify(row)}\n`).join(''));
    }
    const set = [...settings, ...overrides];
    const run = await prepare(set, cwd);
    const { maxSteps } = run.config.train;
    const losses: number[] = [];
    const start = performance.now();
    await train({
      config: 'translate',
      overrides: set,
      cwd,
      runDir: 'run',
      singleProcess: true,
      listener: {
        step({ step, loss }) {
          losses.push(loss);
          onProgress('Lockstep', step / maxSteps);
        },
      },
    });
    const seconds = (performance.now() - start) / 1000;
    const shown = test.slice(0, translated);
    const lockstep = { ...(await evaluate(cwd, shown)), seconds };
    const { peerLosses, ...pytorch } = await repeat(run, { cwd, python, shown }, (done) => onProgress('PyTorch', done));
    const differences = losses.map((loss, step) => Math.abs(loss - peerLosses[step]!));
    return {
      rows: rows.length - heldOut,
      steps: maxSteps,
      parameters: networkOf(modelOf(run.config.model, run.data.vocabSize)).specs.reduce(
        (sum, { size }) => sum + size,
        0,
      ),
      lockstep,
      pytorch,
      largestDifference: Math.max(...differences),
    };
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
}

/** The run's config and data, which it makes again. */
async function prepare(set: readonly string[], cwd: string): Promise<Run> {
  const run = await prepareRun({ config: 'translate', set, singleProcess: true, encrypt: true, dryRun: true }, cwd, {
    note: (line) => void process.stderr.write(`${line}\n`),
    warn: (line) => void process.stderr.write(`warning: ${line}\n`),
    progress: () => () => undefined,
  });
  const { architecture, ...keys } = run.config.model;
  const different = Object.entries(computed).find(
    ([key, value]) => !value.includes((keys as Record<string, unknown>)[key] as never),
  );
  if (architecture === 'encoderDecoder' && different === undefined) return run;
  const what = different === undefined ? 'architecture' : different[0];
  throw new UserError(
    `the model in PyTorch is the default encoder–decoder without dropout, but model.${what} is another: omit it`,
  );
}

/** The values of keys that the script in Python computes. */
const computed: Readonly<Record<string, readonly unknown[]>> = {
  ...{ positions: ['sinusoidal'], scaleEmbedding: [true], norm: ['layer'], normPlace: ['post'], mlp: ['relu'] },
  ...{ bias: ['all'], tiedHead: [true], dropout: [0], nKvHead: [0], loraRank: [0] },
};

async function evaluate(cwd: string, rows: readonly Verse[]): Promise<{ valLoss: number; bleu: number }> {
  const onNotice = (line: string) => void process.stderr.write(`${line}\n`);
  const loaded = await loadModel({ path: 'run', cwd, engine: { name: 'native' }, onWarning: onNotice });
  try {
    const options = { paths: ['test.jsonl'], split: 'all', cwd, onNotice, onProgress: () => undefined } as const;
    const { loss } = (await evaluateRows(loaded, options)) as AnswersEvaluation;
    const placed = rows.map((row, index) => ({ row: { ...row }, at: `verse ${index + 1}` }));
    const answering = { template: undefined, cwd, measure: answersBleu, onProgress: () => undefined };
    return { valLoss: loss, bleu: (await evaluateAnswers(loaded, placed, answering)).bleu };
  } finally {
    await loaded.engine.dispose();
  }
}

interface Repetition {
  readonly cwd: string;
  readonly python: string;
  /** The rows to translate. */
  readonly shown: readonly Verse[];
}

/** The run in PyTorch. */
async function repeat(
  run: Run,
  { cwd, python, shown }: Repetition,
  onProgress: (done: number) => void,
): Promise<TranslateReport['pytorch'] & { peerLosses: number[] }> {
  const { config, data } = run;
  const { maxSteps, seed, globalBatchSize, epochs } = config.train;
  const { blockSize } = config.model;
  const files = await writeJob(run, cwd);
  const script = join(packageRoot, 'bench', 'peers', 'pytorchTranslate.py');
  const peer = new PeerProcess({ name: 'PyTorch', file: python, args: [script, ...files] });
  try {
    const version = (await peer.line()).replace(/^ready /, '');
    const samples = data.training({ seed, globalBatchSize, blockSize, epochs, sampler: config.data.sampler });
    const peerLosses: number[] = [];
    const start = performance.now();
    for (let step = 0; step < maxSteps; step++) {
      const { schedule } = config;
      const learningRate = learningRateAt(step, { ...schedule, decaySteps: schedule.decaySteps || maxSteps });
      peerLosses.push(await peer.askNumber(JSON.stringify({ learningRate, ...rowsOf(samples.batch(step)) }), 'loss'));
      onProgress((step + 1) / maxSteps);
    }
    const seconds = (performance.now() - start) / 1000;
    const held = data.validation({ blockSize, batchSize: globalBatchSize, batches: 0 });
    let [sum, targets] = [0, 0];
    for (let from = 0; from < held.count; from += globalBatchSize) {
      const rows = rowsOf(held.batch(from, Math.min(globalBatchSize, held.count - from)));
      sum += await peer.askNumber(JSON.stringify({ evaluate: true, ...rows }), 'sum');
      targets += rows.targets.flat().filter((target) => target >= 0).length;
    }
    return { version, valLoss: sum / targets, bleu: await translateThere(peer, run, shown), seconds, peerLosses };
  } finally {
    peer.close();
  }
}

/** The initial parameters, and what else the script needs. @returns its arguments */
async function writeJob({ config, data }: Run, cwd: string): Promise<string[]> {
  const engine = await createEngine({ name: 'native' });
  try {
    const model = modelOf(config.model, data.vocabSize);
    const parameters = new Parameters(engine, networkOf(model).specs, { training: false });
    parameters.initialise(config.train.seed);
    const values = parameters.specs.map((_, index) => Float32Array.from(parameters.hostTensor('params', index)));
    const specs = parameters.specs.map(({ name, shape, decay, trainable }) => ({
      name,
      shape,
      decay,
      trained: trainable !== false,
    }));
    const ends = sequenceEnds(data.tokenizer);
    const job = { specs, config: model, optimizer: config.optimizer, threads: config.engine.threads, ...ends };
    const [numbers, description] = [join(cwd, 'parameters.bin'), join(cwd, 'job.json')];
    await writeFile(numbers, Buffer.concat(values.map(({ buffer }) => Buffer.from(buffer))));
    await writeFile(description, JSON.stringify(job));
    return ['--parameters', numbers, '--job', description];
  } finally {
    await engine.dispose();
  }
}

/** BLEU of what PyTorch makes of the rows. */
async function translateThere(peer: PeerProcess, { config, data }: Run, rows: readonly Verse[]): Promise<number> {
  const { tokenizer } = data;
  const ends = sequenceEnds(tokenizer);
  const sources = rows.map(({ source }) => sourceTokens(tokenizer.encode(source), ends));
  const longest = Math.max(...sources.map(({ length }) => length));
  const request = {
    maxTokens: config.model.blockSize,
    source: sources.map((tokens) => [...tokens, ...Array<number>(longest - tokens.length).fill(0)]),
    lengths: sources.map(({ length }) => length),
  };
  const answer = await peer.ask(JSON.stringify(request));
  const parsed: unknown = JSON.parse(answer);
  if (!Array.isArray(parsed) || parsed.length !== rows.length) {
    throw new PeerError(`PyTorch: expected ${rows.length} translations, received ${answer.slice(0, 200)}`);
  }
  const answers = (parsed as number[][]).map((tokens) => ({ text: tokenizer.decode(tokens), hasEnded: true }));
  return answersBleu(
    rows.map(({ target }) => ({ expected: target })),
    answers,
  ).bleu;
}

/** The arrays of a batch, row by row. */
function rowsOf(batch: Batch) {
  const { tokens, targets } = asTokenBatch(batch).arrays;
  const source = sourceOf(batch);
  const rows = ({ shape: [length = 0], data }: { readonly shape: readonly number[]; readonly data: Int32Array }) =>
    Array.from({ length: batch.sampleCount }, (_, row) => [...data.subarray(row * length, (row + 1) * length)]);
  return { tokens: rows(tokens), targets: rows(targets), source: rows(source), lengths: [...source.lengths] };
}

/** For people. */
export function translateText({
  rows,
  steps,
  parameters,
  lockstep,
  pytorch,
  largestDifference,
}: TranslateReport): string {
  const columns = [
    numberColumn('', 15),
    numberColumn('validation loss', 15),
    numberColumn('perplexity', 10),
    numberColumn('BLEU', 6),
    numberColumn('seconds', 7),
  ];
  const row = (name: string, { valLoss, bleu, seconds }: TranslateResult) =>
    tableRow(columns, [name, fixed(valLoss, 5), fixed(Math.exp(valLoss), 2), fixed(bleu, 2), fixed(seconds, 0)]);
  const ratio = Math.abs(lockstep.valLoss / pytorch.valLoss - 1);
  return (
    `${grouped(rows)} rows, ${grouped(steps)} steps, ${grouped(parameters)} parameters\n` +
    `${tableHeading(columns)}\n${row('Lockstep', lockstep)}\n${row(`PyTorch ${pytorch.version.replace(/\+.*/, '')}`, pytorch)}\n` +
    `the validation losses differ by ${fixed(100 * ratio, 3)} %, those of a step by at most ${largestDifference.toExponential(1)}\n`
  );
}
