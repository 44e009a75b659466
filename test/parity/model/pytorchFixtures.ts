/** Reads what makeFixtures.py wrote. */
import { readFileSync } from 'node:fs';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import type { Schedule } from '../../../src/coordinator/core/schedule.ts';
import type { AdamwStep } from '../../../src/model/training.ts';
import { type TokenBatch, tokenBatch } from '../../../src/task/nextToken.ts';

interface Range {
  readonly offset: number;
  readonly length: number;
}

interface TokenLists {
  readonly tokens: readonly number[];
  readonly targets: readonly number[];
}

interface FixtureFile {
  readonly torch: string;
  readonly batchSize: number;
  readonly initial: Record<string, Range>;
  readonly variants: Record<string, TokenLists & VariantScalars & { logits: Range; gradients: Record<string, Range> }>;
  readonly training: {
    readonly config: Omit<Gpt2Config, 'architecture'>;
    readonly optimizer: Pick<AdamwStep, 'beta1' | 'beta2' | 'eps' | 'weightDecay' | 'gradClip'>;
    readonly schedule: Schedule;
    readonly steps: readonly (TokenLists & { learningRate: number; loss: number; gradNorm: number })[];
    readonly final: Record<string, Range>;
  };
}

interface VariantScalars {
  readonly config: Omit<Gpt2Config, 'architecture'>;
  readonly lossSum: number;
}

const folder = new URL('./fixtures/', import.meta.url);
const file = JSON.parse(readFileSync(new URL('gpt.json', folder), 'utf8')) as FixtureFile;
const bytes = readFileSync(new URL('gpt.bin', folder));
const numbers = new Float32Array(new Uint8Array(bytes).buffer);

const arrayAt = ({ offset, length }: Range): Float32Array => numbers.subarray(offset, offset + length);
const arraysAt = (ranges: Record<string, Range>): Map<string, Float32Array> =>
  new Map(Object.entries(ranges).map(([name, range]) => [name, arrayAt(range)]));

function batchOf({ tokens, targets }: TokenLists): TokenBatch {
  const blockSize = tokens.length / file.batchSize;
  return tokenBatch(Int32Array.from(tokens), Int32Array.from(targets), blockSize);
}

/** Initial parameters by name, of every variant. */
export const initialParameters = arraysAt(file.initial);

export const fixtureVariants = Object.entries(file.variants).map(([name, variant]) => ({
  name,
  config: { ...variant.config, architecture: 'gpt2' as const },
  batch: batchOf(variant),
  lossSum: variant.lossSum,
  logits: arrayAt(variant.logits),
  gradients: arraysAt(variant.gradients),
}));

export const fixtureTraining = {
  config: { ...file.training.config, architecture: 'gpt2' as const },
  optimizer: file.training.optimizer,
  schedule: file.training.schedule,
  steps: file.training.steps.map((step) => ({ ...step, batch: batchOf(step) })),
  final: arraysAt(file.training.final),
};
