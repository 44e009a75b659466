/**
 * The small world of the assistant: questions about numbers, the answers that people write to them, and what makes an answer good. Everything
 * follows from a seed, so the data are the same on every machine.
 */

/** A source of random numbers from 0 to below 1: mulberry32. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface Question {
  readonly text: string;
  /** The fact behind it, as books state it. */
  readonly fact: string;
  readonly answer: number;
}

/** All 144 questions of this world, in an order of chance: which of two digits is the larger or the smaller one. */
export const questions: readonly Question[] = shuffled([...allQuestions()], randomOf(0));

function* allQuestions(): Generator<Question> {
  for (let a = 1; a <= 9; a++) {
    for (let b = 1; b <= 9; b++) {
      if (a === b) continue;
      for (const [word, answer] of [
        ['larger', Math.max(a, b)],
        ['smaller', Math.min(a, b)],
      ] as const) {
        yield { text: `Which is ${word}, ${a} or ${b}?`, fact: `The ${word} of ${a} and ${b} is ${answer}.`, answer };
      }
    }
  }
}

function shuffled<T>(items: T[], random: () => number): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
  return items;
}

/** The ways in which people answer, with their shares among the demonstrations. Only the first is what annotators like best. */
const manners = [
  { share: 0.2, write: (n: number) => `Sure! It is ${n}.` },
  { share: 0.3, write: (n: number) => `It is ${n}.` },
  { share: 0.2, write: (n: number) => `I am not sure, but I think it is ${n}.` },
  { share: 0.2, write: (n: number) => `${n}. Everybody knows that.` },
  { share: 0.1, write: () => 'Ask somebody else.' },
] as const;

/** The share of demonstrations with the wrong number. */
const mistakenShare = 0.25;

/** An answer as one of many people would write it. */
export function demonstration(question: Question, random: () => number): string {
  return mannerOf(random)(numberOf(question, random));
}

/** Two different answers to a question; half of them in the same manner. */
export function twoAnswers(question: Question, random: () => number): readonly [string, string] {
  const manner = mannerOf(random);
  const first = manner(numberOf(question, random));
  let second = first;
  while (second === first) second = (random() < 0.5 ? manner : mannerOf(random))(numberOf(question, random));
  return [first, second];
}

function mannerOf(random: () => number): (n: number) => string {
  let left = random();
  for (const { share, write } of manners) {
    left -= share;
    if (left < 0) return write;
  }
  return manners[0].write; // not reached, except for rounding
}

function numberOf({ answer }: Question, random: () => number): number {
  const other = 1 + Math.floor(random() * 8); // the number of a mistake: any but the answer
  if (random() >= mistakenShare) return answer;
  return other < answer ? other : other + 1;
}

/**
 * What annotators like, which the models never see: 2 for the right number, 1 for a friendly word, -1 for a rude one, and -1 for each 40
 * characters.
 */
export function qualityOf(question: Question, text: string): number {
  const isRude = /Everybody knows|Ask somebody/.test(text);
  return 2 * Number(isRight(question, text)) + Number(isFriendly(text)) - Number(isRude) - text.length / 40;
}

export function isRight({ answer }: Question, text: string): boolean {
  return text.match(/\d+/g)?.join() === String(answer);
}

export function isFriendly(text: string): boolean {
  return text.startsWith('Sure! ');
}

/** Whether an annotator takes the first of two answers: the better one, but not always (Bradley and Terry's model). */
export function prefersFirst(question: Question, [a, b]: readonly [string, string], random: () => number): boolean {
  const difference = qualityOf(question, a) - qualityOf(question, b);
  return random() < 1 / (1 + Math.exp(-3 * difference));
}
