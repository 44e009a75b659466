/** What the answers of a model are worth, to a reward model and to the annotators. */
import { type AnsweredPrompt, loadCheckpoint } from 'lockstep';
import { isFriendly, isRight, qualityOf } from './domain.ts';
import { heldOut } from './makeData.ts';

export interface Measured {
  readonly answers: readonly AnsweredPrompt[];
  /** Means over the answers: the learned reward, what annotators like, and the shares of right and of friendly answers. */
  readonly reward: number;
  readonly quality: number;
  readonly right: number;
  readonly friendly: number;
}

const answersPerQuestion = 8;

/** Answers to the questions that no model was asked before, drawn from the model's own distribution. */
export async function measure(
  path: string,
  { seed, rewardModel }: { seed: number; rewardModel: string },
): Promise<Measured> {
  const questions = Array.from({ length: answersPerQuestion }, () => heldOut).flat();
  const model = await loadCheckpoint(path);
  const answers: AnsweredPrompt[] = [];
  for (const [i, { text }] of questions.entries()) {
    const prompt = `${text}\n`;
    const pieces = model.generate(prompt, { maxTokens: 40, temperature: 1, topK: 0, seed: 1000 * seed + i });
    let completion = '';
    for await (const piece of pieces) completion += piece;
    answers.push({ prompt, completion });
  }
  await model.dispose();
  const judge = await loadCheckpoint(rewardModel);
  const rewards = await judge.score(answers);
  await judge.dispose();
  const mean = (of: (index: number) => number) => questions.reduce((sum, _, i) => sum + of(i), 0) / questions.length;
  return {
    answers,
    reward: mean((i) => rewards[i]!),
    quality: mean((i) => qualityOf(questions[i]!, answers[i]!.completion)),
    right: mean((i) => Number(isRight(questions[i]!, answers[i]!.completion))),
    friendly: mean((i) => Number(isFriendly(answers[i]!.completion))),
  };
}

/** The mean, and the standard deviation of a sample. */
export function meanAndDeviation(numbers: readonly number[]): { mean: number; deviation: number; text: string } {
  const mean = numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
  const squares = numbers.reduce((sum, number) => sum + (number - mean) ** 2, 0);
  const deviation = Math.sqrt(squares / Math.max(1, numbers.length - 1));
  return { mean, deviation, text: `${mean.toFixed(2)} ± ${deviation.toFixed(2)}` };
}
