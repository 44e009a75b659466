/**
 * Writes the data of the three steps into a folder:
 *
 *   node build/examples/assistant/makeData.js [folder]
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { demonstration, prefersFirst, type Question, questions, randomOf, twoAnswers } from './domain.ts';

const rows = { books: 20_000, demonstrations: 4_000, comparisons: 6_000, validation: 300 };

/** Questions that the models are asked only at the end. Books may have them. */
const heldOutCount = 24;
export const heldOut = questions.slice(0, heldOutCount);
const asked = questions.slice(heldOutCount);

export function makeData(folder: string): void {
  const random = randomOf(1);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
  const write = (name: string, count: number, row: (index: number) => object) => {
    const lines = Array.from({ length: count }, (_, index) => `${JSON.stringify(row(index))}\n`);
    writeFileSync(join(folder, `${name}.jsonl`), lines.join(''));
  };
  mkdirSync(folder, { recursive: true });
  write('books', rows.books, () => ({ text: sentence(pick(questions), random) }));
  write('demonstrations', rows.demonstrations, () => demonstrated(pick(asked), random));
  write('comparisons', rows.comparisons, () => compared(pick(asked), random));
  write('prompts', asked.length, (index) => ({ prompt: `${asked[index]!.text}\n` }));
  write('demonstrations-validation', rows.validation, () => demonstrated(pick(heldOut), random));
  write('comparisons-validation', rows.validation, () => compared(pick(heldOut), random));
}

/** What books say: facts, exercises with their solutions, questions, and what people say to each other. */
function sentence({ text, fact, answer }: Question, random: () => number): string {
  const remarks = ['Sure!', 'I am not sure.', 'Everybody knows that.', 'Ask somebody else.'];
  const kind = random();
  if (kind < 0.4) return fact;
  if (kind < 0.7) return `${text}\nIt is ${answer}.`;
  return kind < 0.9 ? text : remarks[Math.floor(random() * remarks.length)]!;
}

function demonstrated(question: Question, random: () => number): object {
  return { prompt: `${question.text}\n`, completion: demonstration(question, random) };
}

/** Two answers of different people, and which of them an annotator prefers. */
function compared(question: Question, random: () => number): object {
  const [a, b] = twoAnswers(question, random);
  const [chosen, rejected] = prefersFirst(question, [a, b], random) ? [a, b] : [b, a];
  return { prompt: `${question.text}\n`, chosen, rejected };
}

if (process.argv[1] === import.meta.filename) makeData(process.argv[2] ?? 'runs/assistant/data');
