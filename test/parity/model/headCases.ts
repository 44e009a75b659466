/** Models with a classification head and with a score, each with its objective and a batch of padded rows, the last of which is only padding. */
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import type { Batch } from '../../../src/base/batch.ts';
import { randomKey, randomUniform } from '../../../src/base/counterRandom.ts';
import { classes } from '../../../src/model/objectives/classes.ts';
import type { Objective } from '../../../src/model/objectives/objective.ts';
import { reward } from '../../../src/model/objectives/reward.ts';
import { collate, type Sample } from '../../../src/task/task.ts';
import { tinyConfig } from './tinyModels.ts';

export interface HeadCase {
  readonly name: string;
  readonly objective: Objective;
  readonly config: Gpt2Config;
  readonly batch: Batch;
  /** Samples that are not padding. */
  readonly weight: number;
}

const { blockSize, vocabSize } = tinyConfig;
const weight = 4;

/** A row of 3 to 6 tokens, with a target at its last. */
function row(seed: number, target: number): { tokens: number[]; targets: number[] } {
  const length = 3 + (seed % 4);
  const tokens = Array.from({ length }, (_, i) => Math.floor(randomUniform(randomKey(seed), i) * vocabSize));
  return { tokens, targets: tokens.map((_, i) => (i === length - 1 ? target : -1)) };
}

function batchOf(fields: readonly string[], samples: readonly Sample[]): Batch {
  const rules = fields.map((name) => {
    return [name, { dtype: 'int32', padding: name.toLowerCase().endsWith('targets') ? -1 : 0 }] as const;
  });
  const padding: Sample = Object.fromEntries(fields.map((name) => [name, []]));
  return collate(Object.fromEntries(rules), [...samples, padding], blockSize - 1);
}

const pairs = Array.from({ length: weight }, (_, i): Sample => {
  const [chosen, rejected] = [row(20 + i, 0), row(30 + 3 * i, 0)];
  return {
    chosen: chosen.tokens,
    chosenTargets: chosen.targets,
    rejected: rejected.tokens,
    rejectedTargets: rejected.targets,
  };
});

export const headCases: readonly HeadCase[] = [
  {
    name: 'classes',
    objective: classes,
    config: { ...tinyConfig, labels: ['ham', 'spam', 'other'] },
    batch: batchOf(
      ['tokens', 'targets'],
      Array.from({ length: weight }, (_, i) => row(10 + i, i % 3)),
    ),
    weight,
  },
  {
    name: 'reward',
    objective: reward,
    config: { ...tinyConfig, labels: ['reward'] },
    batch: batchOf(['chosen', 'chosenTargets', 'rejected', 'rejectedTargets'], pairs),
    weight,
  },
];
