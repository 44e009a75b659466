/** The rows that come with the package, for trying a task: `data.examples: builtin`. data/README.md describes them. */
import { join } from 'node:path';
import { packageRoot } from '../../base/packageRoot.ts';
import type { TaskKind } from '../../task/kinds.ts';

const files: Partial<Record<TaskKind, string>> = {
  sft: 'instructions.jsonl',
  classify: 'reviews.csv',
  seq2seq: 'numbers.tsv',
  dpo: 'preferences.jsonl',
  reward: 'preferences.jsonl',
  grpo: 'instructions.jsonl',
  ppo: 'instructions.jsonl',
};

/** The file of the built-in rows for a task; undefined if it has none. */
export function builtinRows(kind: TaskKind): string | undefined {
  const name = files[kind];
  return name === undefined ? undefined : join(packageRoot, 'data', name);
}
