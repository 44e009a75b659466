/** How large rollouts are in the message that a worker sends, and so how many prompts go to a worker at a time. Pure. */

/** The keys of `task` that bound them. */
export interface RolloutSizes {
  readonly kind: string;
  /** Number of completions of each prompt. */
  readonly group: number;
  /** Maximum number of tokens of a completion. */
  readonly maxTokens: number;
}

/** The largest payload: the coordinator reads messages of 8 MiB at most (comm/zmqSocket.ts), and encryption adds a little. */
export const rolloutBytesMax = 8 * 2 ** 20 - 2 ** 16;

/** Bytes of a number. */
const numberBytes = 4;
/** The numbers of a completion: prompt, member, ended and length. */
const completionNumbers = 4;
/** The numbers of a token: its id and its log probabilities; for PPO its value as well. */
const tokenNumbers = (kind: string): number => (kind === 'ppo' ? 4 : 3);

/** The most bytes that the completions of one prompt can have (rolloutBatch.ts): the prompt has at least one token of the context. */
export function promptRolloutBytes({ kind, group, maxTokens }: RolloutSizes, blockSize: number): number {
  const tokens = Math.min(maxTokens, blockSize);
  return group * numberBytes * (completionNumbers + tokens * tokenNumbers(kind));
}

/** Number of completions of a part: about a batch of the decoder. */
const partCompletions = 32;
/** Bytes of a part with several prompts: half of what a message may have. The config sees that one prompt fits (config/crossChecks.ts). */
const partBytes = 4 * 2 ** 20;
/** Number of parts of an iteration that are desirable, so that several workers share it. */
const partsWanted = 8;

/** Number of prompts of a part, which a worker answers at a time. @param prompts those of an iteration */
export function promptsPerPart(
  sizes: RolloutSizes,
  { prompts, blockSize }: { prompts: number; blockSize: number },
): number {
  return Math.max(
    1,
    Math.min(
      Math.floor(partCompletions / sizes.group),
      Math.ceil(prompts / partsWanted),
      Math.floor(partBytes / promptRolloutBytes(sizes, blockSize)),
    ),
  );
}
