/** Multiple choice: a context, several endings, and which of them is right. The form of HellaSwag's rows (Zellers et al., 2019, https://arxiv.org/abs/1905.07830). */
import { UserError } from '../base/errors.ts';
import { type Row, shownValue, textField } from './rows.ts';

/** A row of multiple choice. */
export interface Choice {
  /** The place of the row, for messages. */
  readonly at: string;
  /** The context, without white space at its end. */
  readonly context: string;
  /** At least two. */
  readonly endings: readonly string[];
  /** The index of the right ending. */
  readonly label: number;
}

/** The measures of multiple choice. */
export interface ChoiceMeasures {
  /** Number of rows. */
  readonly rows: number;
  /** Share of rows whose right ending has the highest log probability. */
  readonly acc: number;
  /** The same for the log probability per UTF-8 byte of the ending. */
  readonly accNorm: number;
  /** The accuracy that guessing has on average. */
  readonly chance: number;
}

/** Parses a row; other keys are ignored. @throws UserError for a row of another form, and for one without a label */
export function parseChoice(row: Row, at: string): Choice {
  const context = textField(row, 'ctx', at).trimEnd();
  const endings = endingsOf(row, at);
  return { at, context, endings, label: labelOf(row, endings.length, at) };
}

function endingsOf({ endings }: Row, at: string): string[] {
  if (!Array.isArray(endings) || endings.length < 2) {
    throw new UserError(`${at}: expected an array of at least two texts in endings, received ${shownValue(endings)}.`);
  }
  return endings.map((ending: unknown, index) => {
    if (typeof ending === 'string' && ending.trim() !== '') return ending;
    throw new UserError(`${at}: expected a text in endings[${index}], received ${shownValue(ending)}.`);
  });
}

function labelOf({ label }: Row, count: number, at: string): number {
  const isNumber = typeof label === 'number' || (typeof label === 'string' && /^\d+$/.test(label));
  const index = isNumber ? Number(label) : -1;
  if (Number.isInteger(index) && index >= 0 && index < count) return index;
  const advice = label === '' || label === undefined ? ' Use a split that has labels.' : '';
  throw new UserError(
    `${at}: expected the index of the right ending in label, from 0 to ${count - 1}, received ${shownValue(label)}.${advice}`,
  );
}

/** The texts that follow the context: each ending, after a space unless it starts with white space. */
export function continuations({ endings }: Pick<Choice, 'endings'>): string[] {
  return endings.map((ending) => (/^\s/.test(ending) ? ending : ` ${ending}`));
}

/** @param logprobs of each row's endings after its context, in nats, summed over tokens; the rows in their order */
export function choiceMeasures(
  choices: readonly Pick<Choice, 'endings' | 'label'>[],
  logprobs: readonly ArrayLike<number>[],
): ChoiceMeasures {
  const encoder = new TextEncoder();
  let [right, rightPerByte, chance] = [0, 0, 0];
  for (const [i, { endings, label }] of choices.entries()) {
    const scores = Array.from(logprobs[i]!);
    const perByte = scores.map((score, k) => score / encoder.encode(endings[k]!).length);
    right += Number(highest(scores) === label);
    rightPerByte += Number(highest(perByte) === label);
    chance += 1 / endings.length;
  }
  const rows = choices.length;
  const share = (sum: number) => (rows > 0 ? sum / rows : 0);
  return { rows, acc: share(right), accNorm: share(rightPerByte), chance: share(chance) };
}

/** The first index of the highest score; -1 if none is a number. */
function highest(scores: readonly number[]): number {
  let best = -1;
  for (const [k, score] of scores.entries()) {
    if (!Number.isNaN(score) && (best < 0 || score > scores[best]!)) best = k;
  }
  return best;
}
