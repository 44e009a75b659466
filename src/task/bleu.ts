/**
 * BLEU of a corpus (Papineni et al., 2002), with the tokens of mteval-v13a and the smoothing that sacrebleu applies by default: the scores
 * are those of sacrebleu with one reference per text.
 */
import type { Answer, Question } from './exactMatch.ts';

/** Longest n-grams that are counted. */
const orderMax = 4;

/** Numbers that are added over texts. BLEU of a corpus is computed from their sums; it is not a mean of scores. */
export interface BleuCounts {
  /** N-grams of the texts that their references have too, for n = 1 to 4. */
  readonly matches: readonly number[];
  /** N-grams of the texts, for n = 1 to 4. */
  readonly totals: readonly number[];
  /** Tokens of the texts. */
  readonly length: number;
  /** Tokens of the references. */
  readonly referenceLength: number;
}

/** The measures of generated texts. */
export interface Bleu {
  /** 0 to 100. */
  readonly bleu: number;
  /** The shares of n-grams that match, in percent, smoothed where none does. */
  readonly precisions: readonly number[];
  /** The factor for texts that are shorter than their references: 1 if they are not. */
  readonly brevityPenalty: number;
}

/** BLEU of the answers of a model. */
export interface AnswersBleu extends Bleu {
  /** Number of answers. */
  readonly rows: number;
  /** Number of answers that ended with an end token. */
  readonly ended: number;
}

export const noBleuCounts: BleuCounts = {
  matches: Array(orderMax).fill(0),
  totals: Array(orderMax).fill(0),
  length: 0,
  referenceLength: 0,
};

/** The sums of both. */
export function addBleuCounts(one: BleuCounts, other: BleuCounts): BleuCounts {
  return {
    matches: one.matches.map((count, i) => count + other.matches[i]!),
    totals: one.totals.map((count, i) => count + other.totals[i]!),
    length: one.length + other.length,
    referenceLength: one.referenceLength + other.referenceLength,
  };
}

/** The counts of one text beside its reference. */
export function bleuCounts(text: string, reference: string): BleuCounts {
  const [own, expected] = [tokensOf(text), tokensOf(reference)];
  const [matches, totals]: [number[], number[]] = [[], []];
  for (let order = 1; order <= orderMax; order++) {
    const available = ngramCounts(expected, order);
    let matched = 0;
    for (const [ngram, count] of ngramCounts(own, order)) matched += Math.min(count, available.get(ngram) ?? 0);
    matches.push(matched);
    totals.push(Math.max(0, own.length - order + 1));
  }
  return { matches, totals, length: own.length, referenceLength: expected.length };
}

/** BLEU from the sums of the counts of all texts. */
export function bleuOf({ matches, totals, length, referenceLength }: BleuCounts): Bleu {
  const brevityPenalty = length >= referenceLength ? 1 : length > 0 ? Math.exp(1 - referenceLength / length) : 0;
  const hasMatch = matches.some((count) => count > 0);
  // The first order without a match counts as half a match, the next as a quarter, and so on.
  let smoothing = 1;
  const precisions = totals.map((total, i) => {
    if (total === 0 || !hasMatch) return 0;
    if (matches[i]! > 0) return (100 * matches[i]!) / total;
    smoothing /= 2;
    return (100 * smoothing) / total;
  });
  const meanLog = precisions.reduce((sum, precision) => sum + Math.log(precision), 0) / orderMax;
  return { bleu: brevityPenalty * Math.exp(meanLog), precisions, brevityPenalty };
}

/** @param answers to the questions, in their order */
export function answersBleu(questions: readonly Pick<Question, 'expected'>[], answers: readonly Answer[]): AnswersBleu {
  const counts = answers.map(({ text }, i) => bleuCounts(text, questions[i]!.expected));
  const ended = answers.filter(({ hasEnded }) => hasEnded).length;
  return { rows: answers.length, ended, ...bleuOf(counts.reduce(addBleuCounts, noBleuCounts)) };
}

/** How often each n-gram occurs. Tokens contain no white space, so a space separates them. */
function ngramCounts(tokens: readonly string[], order: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i + order <= tokens.length; i++) {
    const ngram = tokens.slice(i, i + order).join(' ');
    counts.set(ngram, (counts.get(ngram) ?? 0) + 1);
  }
  return counts;
}

/** Entities that mteval-v13a writes as characters, in its order. */
const entities = [
  ['&quot;', '"'],
  ['&amp;', '&'],
  ['&lt;', '<'],
  ['&gt;', '>'],
] as const;

/** The tokens of mteval-v13a: white space separates, and each punctuation mark is a token, except periods and commas inside numbers and hyphens inside words. */
function tokensOf(text: string): string[] {
  let line = text.trimEnd().replaceAll('<skipped>', '').replaceAll('-\n', '').replaceAll('\n', ' ');
  for (const [entity, character] of entities) line = line.replaceAll(entity, character);
  line = ` ${line} `
    .replace(/[!-&(-+/:-@[-`{-~]/g, ' $& ')
    .replace(/([^0-9])([.,])/g, '$1 $2 ')
    .replace(/([.,])([^0-9])/g, ' $1 $2')
    .replace(/([0-9])-/g, '$1 - ');
  return line.split(/\s+/).filter((token) => token !== '');
}
