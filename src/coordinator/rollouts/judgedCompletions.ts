/** Completions and their rewards: what a judge sees, which rewards are accepted, and the lines that people read. What is learned from them: rolloutFile.ts. */
import { UserError } from '../../base/errors.ts';
import type { Prompt } from '../../task/prompts.ts';
import type { Rollout } from '../../task/rollouts.ts';

/** A completion to be rewarded. */
export interface JudgedCompletion {
  readonly prompt: Prompt;
  /** The tokens of the completion, with its end token if it has one. */
  readonly tokens: Int32Array;
  /** Its text, without the end token. */
  readonly text: string;
  readonly ended: boolean;
}

/** Characters of a completion in a message. */
const shownMax = 400;

/** A completion, for messages. */
export function describeCompletion({ prompt: { at }, text }: JudgedCompletion): string {
  const shown = text.length <= shownMax ? text : `${text.slice(0, shownMax)}…`;
  return `the completion ${JSON.stringify(shown)} of ${at}`;
}

/** The reward of each completion. @throws UserError for one that cannot be rewarded, with its text */
export type Judge = (completions: readonly JudgedCompletion[]) => Promise<readonly number[]>;

/** The largest reward, above or below 0: the advantages that follow from it are within the bounds of a batch (task/policyBatch.ts). */
const rewardMax = 1e6;

/** Has completions rewarded. @throws UserError for a reward that is not a finite number or too large, before anything is written */
export async function rewardsOf(completions: readonly JudgedCompletion[], judge: Judge): Promise<readonly number[]> {
  const rewards = await judge(completions);
  for (const [i, completion] of completions.entries()) checkReward(rewards[i]!, completion);
  return rewards;
}

/** The steps would refuse what follows from another reward. @throws UserError for one, with the completion */
function checkReward(reward: number, completion: JudgedCompletion): void {
  if (Math.abs(reward) <= rewardMax) return;
  throw new UserError(
    `task.reward: expected a number from ${-rewardMax} to ${rewardMax}, received ${reward} for ${describeCompletion(completion)}`,
  );
}

/** A line for each rollout. */
export function readableLines(
  iteration: number,
  completions: readonly JudgedCompletion[],
  rollouts: readonly (Rollout & { reward: number })[],
): string {
  const lines = completions.map(({ prompt, text, ended }, i) => {
    const { member, reward, tokens, logprobs, reference } = rollouts[i]!;
    const { content } = prompt.messages.at(-1)!;
    const sums = { logprob: sum(logprobs), referenceLogprob: sum(reference) };
    const answer = prompt.expected === undefined ? {} : { expected: prompt.expected };
    return JSON.stringify({
      iteration,
      row: prompt.at,
      member,
      prompt: content,
      ...answer,
      completion: text,
      reward,
      ended,
      tokens: tokens.length,
      ...sums,
    });
  });
  return `${lines.join('\n')}\n`;
}

function sum(numbers: Float32Array): number {
  return numbers.reduce((total, number) => total + number, 0);
}
