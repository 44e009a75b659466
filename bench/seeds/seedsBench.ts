/** Trains one config with several seeds: a single validation loss says little about a recipe, their mean and range do. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InvariantError } from '../../src/base/errors.ts';
import { fixed, numberColumn, tableHeading, tableRow, textColumn } from '../../src/bench/table.ts';
import { loadConfig } from '../../src/config/load.ts';
import { train } from '../../src/run/train.ts';

export interface SeedsOptions {
  /** A shipped config's name or the path of a YAML file. */
  readonly config: string;
  readonly seeds: readonly number[];
  /** Each `group.key=value`, as `--set` takes it. */
  readonly overrides: readonly string[];
}

export interface SeedResult {
  readonly seed: number;
  /** Over the complete validation split after the last step, in nats. */
  readonly valLoss: number;
  readonly steps: number;
  readonly seconds: number;
}

export interface SeedsListener {
  /** The part of all steps that is done, from 0 to 1. */
  progress?(done: number): void;
  measured?(result: SeedResult): void;
}

/**
 * One run after another, each in a temporary directory that is removed. They are evaluated once, at the end, on the complete split.
 * @throws UserError for a config that cannot be trained or evaluated
 */
export async function runSeedsBench(
  { config, seeds, overrides }: SeedsOptions,
  listener: SeedsListener = {},
): Promise<SeedResult[]> {
  const results: SeedResult[] = [];
  for (const [index, seed] of seeds.entries()) {
    const result = await trainSeed(config, seed, overrides, (done) =>
      listener.progress?.((index + done) / seeds.length),
    );
    results.push(result);
    listener.measured?.(result);
  }
  return results;
}

async function trainSeed(
  config: string,
  seed: number,
  given: readonly string[],
  progress: (done: number) => void,
): Promise<SeedResult> {
  const overrides = [...given, `train.seed=${seed}`, 'eval.batches=0'];
  const { maxSteps } = loadConfig({ file: config, overrides, cwd: process.cwd() }).config.train;
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-seeds-'));
  try {
    const start = performance.now();
    const { step, valLoss } = await train({
      config,
      overrides: [...overrides, `eval.everySteps=${maxSteps}`],
      runDir: join(folder, 'run'),
      singleProcess: true,
      listener: { step: (metrics) => progress(metrics.step / maxSteps) },
    });
    if (valLoss === undefined) throw new InvariantError(`the run with seed ${seed} ended without an evaluation`);
    return { seed, valLoss, steps: step, seconds: (performance.now() - start) / 1000 };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** For people: a heading, a row for each seed as soon as it is trained, and the mean and range of all. */
export function seedsTable(): {
  heading: string;
  row(result: SeedResult): string;
  summary(results: readonly SeedResult[]): string;
} {
  const columns = [
    numberColumn('seed', 6),
    numberColumn('steps', 6),
    numberColumn('validation loss'),
    numberColumn('seconds', 7),
    textColumn('', []),
  ];
  return {
    heading: `${tableHeading(columns)}\n`,
    row: ({ seed, steps, valLoss, seconds }) =>
      `${tableRow(columns, [String(seed), String(steps), fixed(valLoss, 4), fixed(seconds, 0)])}\n`,
    summary(results) {
      const losses = results.map(({ valLoss }) => valLoss);
      const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
      const range = `${fixed(Math.min(...losses), 4)} to ${fixed(Math.max(...losses), 4)}`;
      return `mean ${fixed(mean, 4)}, range ${range} over ${results.length} seeds\n`;
    },
  };
}
