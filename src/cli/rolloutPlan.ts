/** What `--dry-run` says about the rollouts of a run that learns from rewards: their number, their work and what is drawn together. */
import { forwardWork } from '../architecture/work.ts';
import { countOf, grouped } from '../base/numberText.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import type { RunData } from '../data/runData.ts';
import type { DrawnCompletions } from '../model/memoryPlan.ts';
import { drawnTogether } from '../model/rollout.ts';
import type { Prompt } from '../task/prompts.ts';
import { promptsPerPart } from '../task/rolloutSize.ts';
import { paddedTo } from '../task/task.ts';

/** The rollouts of a run, if all answers have the maximum length. */
export interface RolloutPlan {
  readonly iterations: number;
  /** One line for people. */
  readonly description: string;
  /** Completions that a worker draws together. */
  readonly drawn: DrawnCompletions;
  /** Floating-point operations of all iterations. */
  readonly flops: {
    /** Token by token. */
    readonly drawing: number;
    /** Passes over complete texts: the prompts, and what the models say about the answers. */
    readonly passes: number;
  };
}

/** Undefined for a run that learns from given samples. */
export function rolloutPlan(
  { task, train, model, engine }: Config,
  data: Pick<RunData, 'prompts' | 'vocabSize'>,
): RolloutPlan | undefined {
  if (data.prompts === undefined) return undefined;
  const { prompts, group, inner, maxTokens } = task;
  const { blockSize } = model;
  const steps = (prompts * group * inner) / train.globalBatchSize;
  const iterations = Math.ceil(train.maxSteps / steps);
  const answers = prompts * group;
  const work = forwardWork(modelOf(model, data.vocabSize));
  const { size, counts } = promptLengths(data.prompts.prompts);
  const longest = Math.max(...counts.keys());
  const count = Math.min(drawnTogether, group * promptsPerPart(task, { prompts, blockSize }));
  // The reference; in another precision than float32 the drawing model; and the values.
  const texts = 1 + Number(engine.precision !== 'float32') + Number(task.kind === 'ppo');
  let [drawing, passes] = [0, 0];
  for (const [prompt, count] of counts) {
    const length = Math.min(blockSize, prompt + maxTokens);
    const padded = paddedTo(length, blockSize);
    drawing += (count / size) * work.continued(length - prompt, (prompt + length) / 2);
    passes += (count / size) * (work.complete(prompt, prompt) + texts * work.complete(padded, padded));
  }
  const all = iterations * answers;
  return {
    iterations,
    description:
      `${grouped(iterations)} iterations, each with ${grouped(answers)} answers of at most ${grouped(maxTokens)} tokens ` +
      `(${grouped(prompts)} prompts, ${grouped(group)} answers to each), then ${countOf(steps, 'step')}`,
    drawn: { count, tokens: Math.min(blockSize, longest + maxTokens) },
    flops: { drawing: all * drawing, passes: all * passes },
  };
}

/** Prompts are many, their lengths few: how many prompts have each length. */
function promptLengths(prompts: readonly Prompt[]): { readonly size: number; readonly counts: Map<number, number> } {
  const counts = new Map<number, number>();
  for (const { tokens } of prompts) counts.set(tokens.length, (counts.get(tokens.length) ?? 0) + 1);
  return { size: prompts.length, counts };
}
