/**
 * The reward thread: it runs a regular expression or the module of a user, or a reward model. In a thread of its own neither can keep the coordinator from its
 * workers, and it can be ended.
 */
import { pathToFileURL } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import { invariant, messageOf, UserError } from '../base/errors.ts';
import { regexReward } from '../task/rewards.ts';
import { outcomeOf } from '../worker/taskOutcome.ts';
import { loadModel } from './loadModel.ts';
import type { RewardAnswer, RewardFunction, RewardInput, RewardRequest, RewardThreadSource } from './rewardTasks.ts';
import { answerScorer } from './scoreAnswers.ts';

type Reward = (inputs: readonly RewardInput[]) => Promise<readonly unknown[]>;

async function openRegex(pattern: string): Promise<Reward> {
  const reward = regexReward(pattern);
  return async (inputs) => inputs.map(({ completion }) => reward(completion));
}

async function openModule(path: string): Promise<Reward> {
  const { default: reward } = (await import(pathToFileURL(path).href).catch((error: unknown) => {
    throw new UserError(`task.reward: ${path} cannot be loaded: ${messageOf(error)}`);
  })) as { default?: RewardFunction };
  if (typeof reward !== 'function') {
    throw new UserError(
      `task.reward: ${path} has no default export that is a function: expected export default function reward({ prompt, completion, expected }) { … }`,
    );
  }
  return async (inputs) => {
    const rewards: unknown[] = [];
    for (const input of inputs) rewards.push(await reward(input));
    return rewards;
  };
}

async function openModel({ path, cwd, engine }: Extract<RewardThreadSource, { kind: 'model' }>): Promise<Reward> {
  const loaded = await loadModel({ path, cwd, engine, onWarning: () => undefined });
  return answerScorer(loaded, `task.reward: ${path}`);
}

function open(source: RewardThreadSource): Promise<Reward> {
  if (source.kind === 'regex') return openRegex(source.pattern);
  return source.kind === 'module' ? openModule(source.path) : openModel(source);
}

const port = parentPort;
invariant(port !== null, 'the reward thread is started as a thread');
const source = workerData as RewardThreadSource;
const answer = (message: RewardAnswer): void => port.postMessage(message);
const opening = open(source);
answer({
  id: 0,
  outcome: await outcomeOf(async () => {
    await opening;
    return [];
  }),
});
port.on('message', async ({ id, inputs }: RewardRequest) => {
  answer({ id, outcome: await outcomeOf(async () => await (await opening)(inputs)) });
});
