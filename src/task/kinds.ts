/** What a row contains, and what a model learns from it: the values of `task.kind`. */
export const taskKinds = ['lm', 'sft', 'classify', 'seq2seq', 'dpo', 'reward', 'grpo', 'ppo'] as const;

export type TaskKind = (typeof taskKinds)[number];

/** The only label of a model that scores texts. */
export const rewardLabels: readonly string[] = ['reward'];

/** The kinds whose runs learn from what they write themselves. */
export type PolicyKind = 'grpo' | 'ppo';

export function isPolicyKind(kind: TaskKind): kind is PolicyKind {
  return kind === 'grpo' || kind === 'ppo';
}
