/**
 * Rewards of completions that can be checked: the key `task.reward`. A check gives 1 or 0. Any other reward is a path: of a reward model,
 * or of a module of the user. Pure.
 */
import { UserError } from '../base/errors.ts';
import { isExactMatch } from './exactMatch.ts';

/** A completion to be rewarded. */
export interface Completion {
  /** Its text, without the end token. */
  readonly text: string;
  /** Whether the model ended it; otherwise it was cut off. */
  readonly ended: boolean;
  /** The answer of its row; undefined for a row without one. */
  readonly expected: string | undefined;
  /** The row, for messages. */
  readonly at: string;
}

/** The reward of a completion, from its text. @throws UserError for a row without an answer, if the check compares with it */
export type RewardCheck = (completion: Completion) => number;

/** Where rewards come from. */
export type RewardSource =
  | { readonly kind: 'check'; readonly check: RewardCheck }
  /** A pattern of the user: a match may take forever, so it is tested where it can be ended. */
  | { readonly kind: 'regex'; readonly pattern: string }
  /** A module with a default export, on the coordinator. */
  | { readonly kind: 'module'; readonly path: string }
  /** A run, a checkpoint or a folder of weights. */
  | { readonly kind: 'model'; readonly path: string };

const REGEX = 'regex:';

const checks: Readonly<Record<string, RewardCheck>> = {
  match: (completion) => Number(completion.ended && isExactMatch(completion.text, expectedOf(completion, 'match'))),
  contains: (completion) => Number(completion.text.includes(expectedOf(completion, 'contains').trim())),
};

/**
 * The meaning of `task.reward`: match, contains, regex:PATTERN, or a path.
 * @throws UserError for an invalid pattern, and for no text at all
 */
export function rewardSource(text: string): RewardSource {
  if (Object.hasOwn(checks, text)) return { kind: 'check', check: checks[text]! };
  if (text.startsWith(REGEX)) {
    const pattern = text.slice(REGEX.length);
    regexReward(pattern);
    return { kind: 'regex', pattern };
  }
  if (text === '') throw new UserError(`task.reward is empty: expected ${rewardForms}`);
  return { kind: /\.[cm]?js$/.test(text) ? 'module' : 'model', path: text };
}

/** The values of `task.reward`, for messages and documentation. */
export const rewardForms = 'match, contains, regex:PATTERN, the path of a reward model, or the path of a module (.mjs)';

/** The reward of a text by a regular expression: 1 if it matches. @throws UserError for an invalid pattern */
export function regexReward(pattern: string): (text: string) => number {
  try {
    const expression = new RegExp(pattern, 'u');
    return (text) => Number(expression.test(text));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UserError(`task.reward: ${reason}. Expected a regular expression of JavaScript after regex:`);
  }
}

function expectedOf({ expected, at }: Completion, name: string): string {
  if (expected !== undefined && expected.trim() !== '') return expected;
  throw new UserError(
    `${at}: the row has no answer, which the reward ${name} compares with. Add one, or set task.reward.`,
  );
}
