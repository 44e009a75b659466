/** Trains a classifier from random weights with several seeds, each on another split of the rows, and naive Bayes beside it. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomKey } from '../../src/base/counterRandom.ts';
import { UserError } from '../../src/base/errors.ts';
import { fixed, numberColumn, tableHeading, tableRow } from '../../src/bench/table.ts';
import { loadConfig } from '../../src/config/load.ts';
import { permutation } from '../../src/data/permutation.ts';
import { type ClassesEvaluation, evaluateRows } from '../../src/run/evaluateRows.ts';
import { loadModel } from '../../src/run/loadModel.ts';
import { train } from '../../src/run/train.ts';
import { type LabelledText, naiveBayes } from './naiveBayes.ts';

export interface ClassifyBenchOptions {
  readonly rows: readonly LabelledText[];
  readonly seeds: readonly number[];
  /** Number of rows that are not trained on. */
  readonly heldOut: number;
  /** Each `group.key=value`, as `--set` takes it. */
  readonly overrides: readonly string[];
}

export interface ClassifyResult {
  readonly seed: number;
  /** Fraction of the rows held out that got their label. */
  readonly accuracy: number;
  readonly macroF1: number;
  /** The accuracy of naive Bayes on the same split. */
  readonly naiveBayes: number;
  /** The time of training. */
  readonly seconds: number;
}

export interface ClassifyListener {
  /** The part of all steps that is done, from 0 to 1. */
  progress?(done: number): void;
  measured?(result: ClassifyResult): void;
  notice?(line: string): void;
}

const settings = [
  ...[
    'model.nLayer=2',
    'model.nHead=4',
    'model.nEmbd=64',
    'model.blockSize=128',
    'model.dropout=0.2',
    'model.bias=false',
  ],
  ...['data.tokenizer=bpe:2000', 'data.valFraction=0', 'task.kind=classify', 'task.tooLong=truncatePrompt'],
  ...[
    'train.epochs=2',
    'train.globalBatchSize=32',
    'train.microBatchSize=32',
    'eval.everySteps=0',
    'sample.maxTokens=0',
  ],
  ...[
    'checkpoint.everySteps=0',
    'schedule.learningRate=0.002',
    'schedule.minLearningRate=0.00001',
    'schedule.warmupSteps=50',
  ],
];

/**
 * Texts that occur several times are used once, so that none is in both parts.
 * @throws UserError for too few rows, and for what a run refuses
 */
export async function runClassifyBench(
  { rows: given, seeds, heldOut, overrides }: ClassifyBenchOptions,
  listener: ClassifyListener = {},
): Promise<ClassifyResult[]> {
  const rows = [...new Map(given.map((row) => [row.text, row])).values()];
  if (rows.length < 2 * heldOut) {
    throw new UserError(`found ${rows.length} different rows, expected at least twice the ${heldOut} to hold out`);
  }
  const results: ClassifyResult[] = [];
  for (const [index, seed] of seeds.entries()) {
    const order = permutation(rows.length, randomKey(seed));
    const shuffled = rows.map((_, place) => rows[order.at(place)]!);
    const split = { test: shuffled.slice(0, heldOut), rest: shuffled.slice(heldOut) };
    const result = await trainSeed(
      seed,
      { ...split, overrides },
      {
        ...listener,
        progress: (done) => listener.progress?.((index + done) / seeds.length),
      },
    );
    results.push(result);
    listener.measured?.(result);
  }
  return results;
}

interface Split {
  readonly test: readonly LabelledText[];
  readonly rest: readonly LabelledText[];
  readonly overrides: readonly string[];
}

async function trainSeed(
  seed: number,
  { test, rest, overrides }: Split,
  { progress, notice = () => undefined }: ClassifyListener,
): Promise<ClassifyResult> {
  const cwd = await mkdtemp(join(tmpdir(), 'lockstep-classify-'));
  try {
    for (const [name, rows] of Object.entries({ test, rest })) {
      await writeFile(join(cwd, `${name}.jsonl`), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    }
    const start = performance.now();
    const run = { overrides: overridesOf(seed, overrides), cwd };
    const { epochs, globalBatchSize } = loadConfig({ ...run, file: 'classify' }).config.train;
    const steps = Math.ceil((rest.length * epochs) / globalBatchSize);
    const listener = { step: (metrics: { readonly step: number }) => progress?.(metrics.step / steps) };
    await train({ ...run, config: 'classify', runDir: 'run', singleProcess: true, listener });
    const seconds = (performance.now() - start) / 1000;
    const loaded = await loadModel({ path: 'run', cwd, engine: { name: 'native' }, onWarning: notice });
    const options = {
      paths: ['test.jsonl'],
      split: 'all',
      cwd,
      onNotice: notice,
      onProgress: () => undefined,
    } as const;
    const { accuracy, macroF1 } = (await evaluateRows(loaded, options)) as ClassesEvaluation;
    await loaded.engine.dispose();
    const bayes = naiveBayes(rest);
    const right = test.filter(({ text, label }) => bayes(text) === label).length;
    return { seed, accuracy, macroF1, naiveBayes: right / test.length, seconds };
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
}

/** The settings of this bench; those that are given take precedence. */
function overridesOf(seed: number, given: readonly string[]): string[] {
  const keyOf = (override: string): string => override.split('=', 1)[0]!;
  const own = [...settings, `train.seed=${seed}`, 'data.examples=rest.jsonl'];
  return [...own.filter((override) => !given.some((other) => keyOf(other) === keyOf(override))), ...given];
}

/** For people: a heading, a row for each seed as soon as it is measured, and the means. */
export function classifyTable(): {
  heading: string;
  row(result: ClassifyResult): string;
  summary(results: readonly ClassifyResult[]): string;
} {
  const columns = [
    numberColumn('seed', 6),
    numberColumn('accuracy', 8),
    numberColumn('macro F1', 8),
    numberColumn('naive Bayes', 8),
    numberColumn('seconds', 7),
  ];
  const percent = (share: number) => `${fixed(100 * share, 2)} %`;
  return {
    heading: `${tableHeading(columns)}\n`,
    row: ({ seed, accuracy, macroF1, naiveBayes: baseline, seconds }) =>
      `${tableRow(columns, [String(seed), percent(accuracy), fixed(macroF1, 4), percent(baseline), fixed(seconds, 0)])}\n`,
    summary(results) {
      const mean = (of: (result: ClassifyResult) => number) =>
        results.reduce((sum, result) => sum + of(result), 0) / results.length;
      const own = percent(mean(({ accuracy }) => accuracy));
      return `mean accuracy ${own}, naive Bayes ${percent(mean((result) => result.naiveBayes))}, over ${results.length} seeds\n`;
    },
  };
}
