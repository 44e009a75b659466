/**
 * Learning from pairs of answers to one prompt, of which people prefer the first. `dpo` changes the probabilities of the answers; `reward`
 * gives each a score after its last token.
 */
import { ChatFormat, type ChatTokens } from './chatFormat.ts';
import { labelledSample } from './classify.ts';
import { hasEqualAnswers, pairSampleFields, pairWeight } from './pairBatch.ts';
import { parsePairRow } from './pairRows.ts';
import type { Row } from './rows.ts';
import {
  type ChatExample,
  type ChatOptions,
  chatExample,
  contextStart,
  encodeChat,
  nextTokenSample,
  withoutStart,
} from './sft.ts';
import type { Sample, Task } from './task.ts';

/** What pairs teach. */
export type PairObjective = 'dpo' | 'reward';

/** Two conversations that differ in their last answer. */
export interface PairExample {
  readonly chosen: ChatExample;
  readonly rejected: ChatExample;
}

/**
 * Samples have `chosen` and `rejected` (tokens), `chosenTargets` and `rejectedTargets`. For `dpo` a target is the next token of the last answer
 * or of its end, otherwise -1. For `reward` it is 0 at the last token, otherwise -1.
 * @throws UserError for a tokenizer without an end-of-document token
 */
export function pairsTask({
  tokenizer,
  template,
  objective,
}: ChatOptions & { objective: PairObjective }): Task<Row, PairExample> {
  const format = new ChatFormat(template, tokenizer);
  const sampleOf = objective === 'dpo' ? dpoSample : rewardSample;
  const chatsOf = ({ chosen, rejected }: PairExample): [ChatTokens, ChatTokens] => [
    lastAnswer(encodeChat(format, chosen)),
    lastAnswer(encodeChat(format, rejected)),
  ];
  return {
    name: objective === 'dpo' ? 'direct preference optimisation' : 'reward model',
    objective,
    fields: pairSampleFields,
    parse: (row, at) => {
      const { chosen, rejected } = parsePairRow(row, at);
      return { chosen: chatExample(format, chosen, at), rejected: chatExample(format, rejected, at) };
    },
    encode: (example) => pairSample(...chatsOf(example), sampleOf),
    shorten: (example, tokens) => {
      const [chosen, rejected] = chatsOf(example);
      // Both lose the same part of the prompt that they share.
      const longest = Math.max(chosen.tokens.length, rejected.tokens.length);
      const from = contextStart(chosen, longest - (objective === 'dpo' ? tokens + 1 : tokens));
      if (from === undefined || contextStart(rejected, from) !== from) return undefined;
      return pairSample(withoutStart(chosen, from), withoutStart(rejected, from), sampleOf);
    },
    hasEqualAnswers,
    weight: pairWeight,
  };
}

/** Earlier answers are part of the prompt. */
function lastAnswer({ tokens, isTarget }: ChatTokens): ChatTokens {
  const from = isTarget.lastIndexOf(false);
  return { tokens, isTarget: isTarget.map((_, index) => index > from) };
}

type PartSample = (chat: ChatTokens) => { tokens: number[]; targets: number[] };

const dpoSample: PartSample = nextTokenSample;
const rewardSample: PartSample = ({ tokens }) => labelledSample(tokens, 0);

function pairSample(chosen: ChatTokens, rejected: ChatTokens, sampleOf: PartSample): Sample {
  const [first, second] = [sampleOf(chosen), sampleOf(rejected)];
  return {
    chosen: first.tokens,
    chosenTargets: first.targets,
    rejected: second.tokens,
    rejectedTargets: second.targets,
  };
}
