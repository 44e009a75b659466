/**
 * Reads what a run left in its directory, a line at a time: `metrics.jsonl` becomes columns of numbers, `events.jsonl` and
 * `samples.jsonl` lists. A run that still goes on, or was killed, ends with half a line: what cannot be read is counted, not fatal.
 */
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { errorCode, messageOf, UserError } from '../base/errors.ts';
import { RankTimes } from './rankTimes.ts';

const number = z.number();

const rankLine = z.object({
  rank: number.int().min(0),
  sampleCount: number.optional(),
  dataWaitMs: number.optional(),
  forwardBackwardMs: number.optional(),
  ringWaitMs: number.optional(),
  commitWaitMs: number.optional(),
  optimizerMs: number.optional(),
});

/** Of a step whose coordinator was killed there is no speed and no time. */
const stepLine = z.object({
  step: number,
  loss: number,
  lr: number,
  gradNorm: number,
  tokens: number,
  tokensPerSecond: number.optional(),
  mfu: number.optional(),
  ranks: z.array(rankLine),
});

const evaluationLine = z.object({
  step: number,
  valLoss: number,
  valPerplexity: number.optional(),
  valBitsPerByte: number.optional(),
});

const eventLine = z.object({
  time: z.string(),
  event: z.string(),
  reason: z.string(),
  step: number,
  rank: number.optional(),
  cause: z.string().optional(),
  action: z.string().optional(),
});

const sampleLine = z.object({ step: number, prompt: z.string(), text: z.string() });

export type RunEventLine = z.infer<typeof eventLine>;
export type RunSample = z.infer<typeof sampleLine>;

/** What a plot can show. All but `valLoss` are columns of the steps. */
export const metricNames = ['loss', 'valLoss', 'lr', 'gradNorm', 'tokensPerSecond', 'mfu'] as const;
export type MetricName = (typeof metricNames)[number];

/** What is known of a run. Index i of every column is of one step; NaN where it has none. */
export interface RunRecord {
  /** The last part of its path. */
  readonly name: string;
  readonly path: string;
  readonly steps: Readonly<Record<'step' | Exclude<MetricName, 'valLoss'>, readonly number[]>>;
  /** Trained on by the last step. */
  readonly tokens: number;
  readonly evaluations: readonly z.infer<typeof evaluationLine>[];
  readonly rankTimes: RankTimes;
  readonly events: readonly RunEventLine[];
  /** Events that are not among `events`: of those that come most often only the last are kept. */
  readonly eventsLeftOut: number;
  readonly samples: readonly RunSample[];
  /** YAML as the run resolved it, where it is there. */
  readonly config: string | undefined;
  /** Lines of all files that could not be read. */
  readonly badLines: number;
}

const eventsMax = 2_000;
const samplesMax = 500;

/** @throws UserError where the folder is none of a run, or cannot be read */
export async function readRun(folder: string): Promise<RunRecord> {
  const path = resolve(folder);
  const metricsPath = join(path, 'metrics.jsonl');
  if (!(await isFile(metricsPath))) {
    throw new UserError(`expected the directory of a run, like runs/quickstart, but ${metricsPath} is not there`);
  }
  const steps = { step: [], loss: [], lr: [], gradNorm: [], tokensPerSecond: [], mfu: [] } as Record<
    keyof RunRecord['steps'],
    number[]
  >;
  const evaluations: z.infer<typeof evaluationLine>[] = [];
  const rankTimes = new RankTimes();
  let tokens = 0;
  let badLines = await eachLine(metricsPath, (value) => {
    const evaluation = evaluationLine.safeParse(value);
    if (evaluation.success) {
      evaluations.push(evaluation.data);
      return true;
    }
    const { success, data } = stepLine.safeParse(value);
    if (!success) return false;
    for (const name of Object.keys(steps) as (keyof typeof steps)[]) steps[name].push(data[name] ?? Number.NaN);
    rankTimes.add(data.tokens - tokens, data.tokensPerSecond, data.ranks);
    tokens = data.tokens;
    return true;
  });
  const events = new Last<RunEventLine>(eventsMax);
  badLines += await eachLine(join(path, 'events.jsonl'), (value) => events.addParsed(eventLine.safeParse(value)));
  const samples = new Last<RunSample>(samplesMax);
  badLines += await eachLine(join(path, 'samples.jsonl'), (value) => samples.addParsed(sampleLine.safeParse(value)));
  return {
    ...{ name: basename(path), path, steps, tokens, evaluations, rankTimes, badLines },
    ...{ events: events.kept, eventsLeftOut: events.leftOut, samples: samples.kept },
    config: await readFile(join(path, 'config.yaml'), 'utf8').catch(() => undefined),
  };
}

/** The newest so many of what is added. */
class Last<T> {
  readonly #most: number;
  readonly kept: T[] = [];
  leftOut = 0;

  constructor(most: number) {
    this.#most = most;
  }

  addParsed({ success, data }: { success: boolean; data?: T | undefined }): boolean {
    if (!success || data === undefined) return false;
    this.kept.push(data);
    if (this.kept.length > this.#most) {
      this.kept.shift();
      this.leftOut++;
    }
    return true;
  }
}

/** Hands each line's JSON to `take`, in constant memory. How many were no JSON, or not taken; 0 where the file is not there. */
async function eachLine(path: string, take: (value: unknown) => boolean): Promise<number> {
  if (!(await isFile(path))) return 0;
  let bad = 0;
  try {
    for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      if (line !== '' && !take(jsonOf(line))) bad++;
    }
  } catch (error) {
    throw new UserError(`cannot read ${path}: ${messageOf(error)}`);
  }
  return bad;
}

/** Undefined where it is none: torn. */
function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw new UserError(`cannot read ${path}: ${messageOf(error)}`);
  }
}
