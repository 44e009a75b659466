/**
 * Reads what a run left in its directory, a line at a time: `metrics.jsonl` becomes columns of numbers, `events.jsonl` and
 * `samples.jsonl` lists. A run in progress, or one that was killed, may end with part of a line: unreadable lines are counted, not fatal.
 */
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { messageOf, UserError } from '../base/errors.ts';
import { shortPath } from '../base/shortPath.ts';
import { userPath } from '../base/userPath.ts';
import { isFile } from '../base/wholeFiles.ts';
import { RankTimes } from './rankTimes.ts';
import { RecentSpeed } from './recentSpeed.ts';
import {
  type EventLine,
  type Line,
  parseLine,
  rankCountOf,
  rankRowsOf,
  type SampleLine,
  type ValidationLine,
} from './runLines.ts';

/** The metrics of a plot. All but `valLoss` are columns of the steps. */
export const metricNames = [
  'loss',
  'valLoss',
  'lr',
  'gradNorm',
  'tokensPerSecond',
  'mfu',
  'reward',
  'rolloutKl',
] as const;
export type MetricName = (typeof metricNames)[number];

/** What is known of a run. Index i of every column is of one step; NaN where it has none. Speed and MFU are over ten steps; reward and KL are those of the iteration. */
export interface RunRecord {
  /** The last part of its path. */
  readonly name: string;
  readonly path: string;
  readonly steps: Readonly<Record<'step' | Exclude<MetricName, 'valLoss'>, readonly number[]>>;
  /** Number of tokens trained on by the last step. */
  readonly tokens: number;
  /** The most in a step. */
  readonly workers: number;
  readonly evaluations: readonly ValidationLine[];
  readonly rankTimes: RankTimes;
  readonly events: readonly EventLine[];
  /** Events that are not among `events`: of those that come most often only the last are kept. */
  readonly eventsLeftOut: number;
  readonly samples: readonly SampleLine[];
  /** The resolved config of the run as YAML, if the file exists. */
  readonly config: string | undefined;
  /** Lines of all files that could not be read. */
  readonly badLines: number;
}

const eventsMax = 2_000;
const samplesMax = 500;

/**
 * @param hintFor ends the message about a folder that is not a run directory: what may have been meant
 * @throws UserError if the folder is not a run directory, or cannot be read
 */
export async function readRun(
  folder: string,
  hintFor: (path: string) => Promise<string> = async () => '',
): Promise<RunRecord> {
  const path = userPath(process.cwd(), folder);
  const metricsPath = join(path, 'metrics.jsonl');
  if (!(await isFile(metricsPath))) {
    throw new UserError(
      `expected a run directory, such as runs/quickstart, but ${shortPath(metricsPath)} does not exist${await hintFor(path)}`,
    );
  }
  const columns = ['step', ...metricNames.filter((name) => name !== 'valLoss')] as const;
  const steps = Object.fromEntries(columns.map((name): [string, number[]] => [name, []])) as Record<
    keyof RunRecord['steps'],
    number[]
  >;
  const evaluations: ValidationLine[] = [];
  const rankTimes = new RankTimes();
  const events = new Last<EventLine>(eventsMax);
  const samples = new Last<SampleLine>(samplesMax);
  const speeds = { tokensPerSecond: new RecentSpeed(), mfu: new RecentSpeed() };
  let tokens = 0;
  let workers = 0;
  let lastStep = 0;
  const take = ({ kind, line }: Line): void => {
    if (kind === 'validation') evaluations.push(line);
    else if (kind === 'event') events.add(line);
    else if (kind === 'sample') samples.add(line);
    else {
      for (const name of ['step', 'loss', 'lr', 'gradNorm'] as const) steps[name].push(line[name]);
      for (const name of ['tokensPerSecond', 'mfu'] as const) steps[name].push(speeds[name].add(line[name]));
      for (const name of ['reward', 'rolloutKl'] as const) steps[name].push(line.means?.[name] ?? Number.NaN);
      // Beyond lines that are missing, the tokens are those of many steps, and would make a long one of this.
      if (line.step === lastStep + 1) rankTimes.add(line.tokens - tokens, line.tokensPerSecond, rankRowsOf(line));
      workers = Math.max(workers, rankCountOf(line));
      ({ step: lastStep, tokens } = line);
    }
  };
  let badLines = 0;
  for (const file of ['metrics.jsonl', 'events.jsonl', 'samples.jsonl'])
    badLines += await eachLine(join(path, file), take);
  return {
    name: basename(path),
    path,
    steps,
    tokens,
    workers,
    evaluations,
    rankTimes,
    badLines,
    events: events.kept,
    eventsLeftOut: events.leftOut,
    samples: samples.kept,
    config: await readFile(join(path, 'config.yaml'), 'utf8').catch(() => undefined),
  };
}

/** Keeps the newest N of the added items. */
class Last<T> {
  readonly #most: number;
  readonly kept: T[] = [];
  leftOut = 0;

  constructor(most: number) {
    this.#most = most;
  }

  add(item: T): void {
    this.kept.push(item);
    if (this.kept.length <= this.#most) return;
    this.kept.shift();
    this.leftOut++;
  }
}

/** Hands each line to `take`, in constant memory. How many could not be read; 0 if the file does not exist. */
async function eachLine(path: string, take: (line: Line) => void): Promise<number> {
  if (!(await isFile(path))) return 0;
  let bad = 0;
  try {
    for await (const text of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      const line = text === '' ? undefined : parseLine(text);
      if (line !== undefined) take(line);
      else if (text !== '') bad++;
    }
  } catch (error) {
    throw new UserError(`cannot read ${path}: ${messageOf(error)}`);
  }
  return bad;
}
