/**
 * Times generation, one sequence at a time: how long a prompt takes until its first token, and each token after it. To compute a
 * token every weight must be read once, so what it is measured against is the time that reading so many bytes takes on the
 * engine's threads, measured in the same run.
 */
import { randomKey, randomUniform } from '../base/counterRandom.ts';
import type { Engine } from '../engine/engine.ts';
import { NativeEngine } from '../engine/native/nativeEngine.ts';
import type { ModelConfig } from '../model/config.ts';
import { generate } from '../model/generate.ts';
import type { GPT } from '../model/gpt.ts';
import { parameterCount } from '../model/parameters.ts';
import { type Machine, measureMachine } from './machine.ts';
import { median } from './median.ts';

export interface GenerateBenchOptions {
  /** Tokens of the prompts, each timed by itself. */
  readonly prompts: readonly number[];
  /** Tokens timed after each prompt's first. */
  readonly tokens: number;
  /** How often each prompt is continued, after once that is not timed. */
  readonly runs: number;
}

export interface GenerateBenchResult {
  readonly promptTokens: number;
  /** From the prompt to the first token, sampled: the median over the runs. */
  readonly promptMs: number;
  readonly promptTokensPerSecond: number;
  /** Of a token after the first, over the tokens of all runs. */
  readonly medianMs: number;
  readonly minMs: number;
  readonly tokensPerSecond: number;
  /** The time that reading the weights takes at `readGbytes`, over `medianMs`; absent without the native engine. */
  readonly ofLimit?: number;
}

export interface GenerateBenchReport extends GenerateBenchOptions {
  readonly machine: Machine | undefined;
  readonly engine: string;
  readonly parameters: number;
  /** What a token reads of them. */
  readonly weightBytes: number;
  /** 10^9 bytes a second that the engine's threads read from as much memory; absent without the native engine. */
  readonly readGbytes?: number;
  readonly results: readonly GenerateBenchResult[];
}

/** As `launch generate` draws where nothing else is said. */
const sampling = { temperature: 0.8, topK: 200, topP: 1 };
const bandwidthSeconds = 0.3;

export async function runGenerateBench(
  engine: Engine,
  model: GPT,
  options: GenerateBenchOptions,
): Promise<GenerateBenchReport> {
  const native = engine instanceof NativeEngine ? engine : undefined;
  const weightBytes = weightBytesOf(model.config);
  const measureGbytes = (): number =>
    native === undefined ? 0 : native.readBandwidth({ bytes: weightBytes, seconds: bandwidthSeconds }) / 1e9;
  const gbytesBefore = measureGbytes();
  const times: GenerationTimes[] = [];
  for (const promptTokens of options.prompts) times.push(await timeGeneration(engine, model, promptTokens, options));
  // Others may use the machine too: the better of two is nearer to the truth.
  const readGbytes = Math.max(gbytesBefore, measureGbytes());
  return {
    ...options,
    machine: native && (await measureMachine(native)),
    engine: engine.description,
    parameters: parameterCount(model.config),
    weightBytes,
    ...(native && { readGbytes }),
    results: times.map((of) => resultOf(of, native && weightBytes / readGbytes / 1e6)),
  };
}

/** Bytes of the parameters but for the tables that are only looked up: the positions, and the tokens unless they are the head. */
export function weightBytesOf(model: ModelConfig): number {
  const lookedUp = model.nEmbd * (model.blockSize + (model.tiedHead ? 0 : model.vocabSize));
  return 4 * (parameterCount(model) - lookedUp);
}

interface GenerationTimes {
  readonly promptTokens: number;
  readonly promptMs: number[];
  readonly tokenMs: number[];
}

async function timeGeneration(
  engine: Engine,
  model: GPT,
  promptTokens: number,
  { tokens, runs }: GenerateBenchOptions,
): Promise<GenerationTimes> {
  const key = randomKey(promptTokens);
  const { vocabSize } = model.config;
  const prompt = Array.from({ length: promptTokens }, (_, i) => Math.floor(randomUniform(key, i) * vocabSize));
  const times: GenerationTimes = { promptTokens, promptMs: [], tokenMs: [] };
  for (let run = 0; run <= runs; run++) {
    let before = performance.now();
    let seen = 0;
    for await (const _ of generate(engine, model, { ...sampling, prompt, maxTokens: 1 + tokens, seed: run })) {
      const now = performance.now();
      if (run > 0) (seen === 0 ? times.promptMs : times.tokenMs).push(now - before);
      before = now;
      seen++;
    }
  }
  return times;
}

function resultOf(
  { promptTokens, promptMs, tokenMs }: GenerationTimes,
  limitMs: number | undefined,
): GenerateBenchResult {
  const [prompt, medianMs] = [median(promptMs), median(tokenMs)];
  return {
    promptTokens,
    promptMs: prompt,
    promptTokensPerSecond: (1000 * promptTokens) / prompt,
    medianMs,
    minMs: Math.min(...tokenMs),
    tokensPerSecond: 1000 / medianMs,
    ...(limitMs !== undefined && { ofLimit: limitMs / medianMs }),
  };
}
