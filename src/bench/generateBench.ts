/**
 * Times generation of one sequence or of several together: the time of a prompt until its first token, and of each later token.
 * Every weight must be read once for each token, so the limit is the time to read that many bytes on the engine's threads. It is
 * measured before and after each run, because other programs may use the memory too.
 */
import { parameterCount } from '../architecture/registry.ts';
import { weightBytes as weightBytesOf } from '../architecture/work.ts';
import { randomKey, randomUniform } from '../base/counterRandom.ts';
import { median } from '../base/statistics.ts';
import type { Engine } from '../engine/engine.ts';
import { DecodeBatch } from '../model/decodeBatch.ts';
import type { Model } from '../model/model.ts';
import { type Machine, measureMachine, renderMachine } from './machine.ts';
import { fixed, numberColumn, percent, tableHeading, tableRow } from './table.ts';

export interface GenerateBenchOptions {
  /** Numbers of prompt tokens, each timed separately. */
  readonly prompts: readonly number[];
  /** Numbers of sequences decoded together, each timed separately with each prompt. */
  readonly batches: readonly number[];
  /** Number of tokens timed after each prompt's first. */
  readonly tokens: number;
  /** Number of timed continuations of each prompt, after an untimed one. */
  readonly runs: number;
}

export interface GenerateBenchResult {
  readonly promptTokens: number;
  /** Number of sequences decoded together. */
  readonly batch: number;
  /** Time from the prompts to each one's first sampled token: the median over the runs. */
  readonly promptMs: number;
  readonly promptTokensPerSecond: number;
  /** Time of one token of every sequence, after the first, over the tokens of all runs. */
  readonly medianMs: number;
  readonly minMs: number;
  /** Rate of all sequences together. */
  readonly tokensPerSecond: number;
  /** Memory bandwidth of the engine's threads in 10^9 bytes per second: the median over the runs. Absent if the engine cannot measure it. */
  readonly readGBs?: number;
  /** Time to read the weights at the run's bandwidth, divided by its median time per token: the median over the runs. */
  readonly ofLimit?: number;
}

export interface GenerateBenchReport extends GenerateBenchOptions {
  readonly machine: Machine | undefined;
  readonly engine: string;
  readonly parameters: number;
  /** Bytes of weights read per token. */
  readonly weightBytes: number;
  readonly results: readonly GenerateBenchResult[];
}

/** The default sampling of `launch generate`. */
const sampling = { temperature: 0.8, topK: 200, topP: 1 };
const bandwidthSeconds = 0.1;

/** @param onProgress called after each run with the fraction done */
export async function runGenerateBench(
  engine: Engine,
  model: Model,
  options: GenerateBenchOptions,
  onProgress: (done: number) => void = () => undefined,
): Promise<GenerateBenchReport> {
  const weightBytes = weightBytesOf(model.config);
  const asMany = new Float32Array(engine.readBandwidth === undefined ? 0 : weightBytes / 4).fill(1);
  const readGBs = engine.readBandwidth && (() => engine.readBandwidth!(asMany, bandwidthSeconds) / 1e9);
  const results: GenerateBenchResult[] = [];
  let done = 0;
  const progress = () => onProgress(++done / (options.prompts.length * options.batches.length * (1 + options.runs)));
  for (const [promptTokens, batch] of options.prompts.flatMap((prompt) =>
    options.batches.map((b) => [prompt, b] as const),
  )) {
    const runs: Run[] = [];
    await timeRun(engine, model, { ...options, promptTokens, batch, seed: 0 }); // not counted
    progress();
    for (let seed = 1; seed <= options.runs; seed++) {
      const before = readGBs?.();
      const times = await timeRun(engine, model, { ...options, promptTokens, batch, seed });
      const after = readGBs?.();
      runs.push({ ...times, ...(before && after && { readGBs: Math.max(before, after) }) });
      progress();
    }
    results.push(resultOf({ promptTokens, batch }, runs, weightBytes));
  }
  return {
    ...options,
    machine: await measureMachine(engine),
    engine: engine.description,
    parameters: parameterCount(model.config),
    weightBytes,
    results,
  };
}

interface Run {
  readonly promptMs: number;
  readonly tokenMs: readonly number[];
  readonly readGBs?: number;
}

async function timeRun(
  engine: Engine,
  model: Model,
  { promptTokens, batch: size, tokens, seed }: { promptTokens: number; batch: number; tokens: number; seed: number },
): Promise<Run> {
  const key = randomKey(promptTokens);
  const { vocabSize } = model.config;
  const prompt = Array.from({ length: promptTokens }, (_, i) => Math.floor(randomUniform(key, i) * vocabSize));
  const tokenMs: number[] = [];
  // All prompts in one step, so that every sequence has the same number of tokens.
  const batch = new DecodeBatch(engine, model, size === 1 ? {} : { promptChunk: Math.max(512, size * promptTokens) });
  for (let i = 0; i < size; i++) batch.add({ ...sampling, prompt, seed: seed * size + i });
  try {
    for (let before = performance.now(); tokenMs.length <= tokens; ) {
      if ((await batch.step()).length === 0) continue;
      const now = performance.now();
      tokenMs.push(now - before);
      before = now;
    }
  } finally {
    batch.release();
  }
  return { promptMs: tokenMs.shift()!, tokenMs };
}

function resultOf(
  { promptTokens, batch }: Pick<GenerateBenchResult, 'promptTokens' | 'batch'>,
  runs: readonly Run[],
  weightBytes: number,
): GenerateBenchResult {
  const promptMs = median(runs.map((run) => run.promptMs));
  const tokenMs = runs.flatMap((run) => run.tokenMs);
  const medianMs = median(tokenMs);
  const bandwidths = runs.flatMap(({ readGBs }) => readGBs ?? []);
  const ofLimits = runs.flatMap((run) =>
    run.readGBs === undefined ? [] : weightBytes / run.readGBs / 1e6 / median(run.tokenMs),
  );
  return {
    promptTokens,
    batch,
    promptMs,
    promptTokensPerSecond: (1000 * batch * promptTokens) / promptMs,
    medianMs,
    minMs: Math.min(...tokenMs),
    tokensPerSecond: (1000 * batch) / medianMs,
    ...(bandwidths.length > 0 && { readGBs: median(bandwidths), ofLimit: median(ofLimits) }),
  };
}

/** Formats the report for people. */
export function renderGeneration(report: GenerateBenchReport): string {
  const { machine, engine, parameters, tokens, runs, weightBytes, results } = report;
  const columns = [
    numberColumn('prompt tokens'),
    numberColumn('together'),
    numberColumn('ms', 8),
    numberColumn('tokens/s', 9),
    numberColumn('then ms a token'),
    numberColumn('min ms', 7),
    numberColumn('tokens/s', 9),
    numberColumn('reads GB/s'),
    numberColumn('of limit'),
  ];
  const rows = results.map((result) =>
    tableRow(columns, [
      String(result.promptTokens),
      String(result.batch),
      fixed(result.promptMs, 1),
      fixed(result.promptTokensPerSecond, 0),
      fixed(result.medianMs, 2),
      fixed(result.minMs, 2),
      fixed(result.tokensPerSecond, 1),
      fixed(result.readGBs, 1),
      percent(result.ofLimit),
    ]),
  );
  return [
    ...(machine === undefined ? [] : [renderMachine(machine).trimEnd()]),
    `${engine}: ${(parameters / 1e6).toFixed(2)} M parameters, ${tokens} tokens after the first, ${runs} runs`,
    `${(weightBytes / 1e6).toFixed(1)} MB of weights; the limit of a token is the time to read them`,
    '',
    tableHeading(columns),
    ...rows,
    '',
  ].join('\n');
}
