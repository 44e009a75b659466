/**
 * The rewards of a run's completions: from a check, a reward model, or a module of the user. All are computed in the process of the
 * coordinator: no code of the user reaches the machines that join.
 */
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { fullMessageOf, PeerError, UserError } from '../base/errors.ts';
import { durationOf } from '../base/numberText.ts';
import { userPath } from '../base/userPath.ts';
import type { Config } from '../config/configTypes.ts';
import { describeCompletion, type Judge, type JudgedCompletion } from '../coordinator/rollouts/judgedCompletions.ts';
import { type RewardSource, rewardSource } from '../task/rewards.ts';
import { unwrap } from '../worker/taskOutcome.ts';
import type { RewardAnswer, RewardInput, RewardRequest, RewardThreadSource } from './rewardTasks.ts';

export interface OpenJudge {
  readonly judge: Judge;
  close(): Promise<void>;
}

/** A module may wait for a service when it is loaded, and a model is read from the disk. */
const startLimitMs = 120_000;
/** Characters of an error of the module in a message. */
const shownMax = 400;

/** What is used of a worker thread. */
interface Thread extends Pick<NodeJS.EventEmitter, 'on'> {
  postMessage(request: RewardRequest): void;
  terminate(): Promise<unknown>;
}

function startThread(source: RewardThreadSource): Thread {
  return new Worker(new URL('./rewardThreadMain.js', import.meta.url), { workerData: source });
}

/**
 * @param start starts the thread that computes rewards of this source; for tests
 * @throws UserError for a module or a model that cannot be opened
 */
export async function openJudge(
  { task, engine }: Config,
  cwd: string,
  start: (source: RewardThreadSource) => Thread = startThread,
): Promise<OpenJudge> {
  const source = rewardSource(task.reward);
  if (source.kind === 'check') {
    const judge: Judge = async (completions) =>
      completions.map(({ prompt: { expected, at }, text, ended }) => source.check({ text, ended, expected, at }));
    return { judge, close: async () => undefined };
  }
  const thread = new RewardThread(start(threadSource(source, { cwd, engine })));
  await thread.ready();
  const name = source.kind === 'regex' ? 'the regular expression' : source.path;
  const judge: Judge =
    source.kind === 'model'
      ? async (completions) => (await thread.request(completions.map(inputOf))) as number[]
      : (completions) => thread.oneByOne(completions, { name, timeoutMs: task.rewardTimeoutMs });
  return { judge, close: () => thread.close() };
}

/** @throws UserError for a path without a file */
function threadSource(
  source: Exclude<RewardSource, { kind: 'check' }>,
  { cwd, engine }: { cwd: string; engine: Config['engine'] },
): RewardThreadSource {
  if (source.kind === 'regex') return source;
  const path = userPath(cwd, source.path);
  if (!existsSync(path))
    throw new UserError(`task.reward: ${path} not found: expected a reward model or a module (.mjs, .js)`);
  return source.kind === 'module' ? { kind: 'module', path } : { kind: 'model', path, cwd, engine };
}

class RewardThread {
  readonly #worker: Thread;
  readonly #waiting = new Map<
    number,
    { resolve: (rewards: readonly unknown[]) => void; reject: (error: unknown) => void }
  >();
  readonly #ready: Promise<unknown>;
  #requests = 0;
  /** Why the thread answers no more. */
  #ended: { readonly error: unknown } | undefined;

  constructor(worker: Thread) {
    this.#worker = worker;
    this.#ready = this.#answerTo(0);
    worker.on('message', ({ id, outcome }: RewardAnswer) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      try {
        waiting?.resolve(unwrap(outcome));
      } catch (error) {
        waiting?.reject(error);
      }
    });
    worker.on('error', (error) => this.#end(error));
    worker.on('exit', () => this.#end(new PeerError('the reward thread has ended')));
  }

  async ready(): Promise<void> {
    const late = () =>
      new UserError(`task.reward: the module or model was not ready within ${durationOf(startLimitMs)}`);
    await this.#within(this.#ready, startLimitMs, late);
  }

  async request(inputs: readonly RewardInput[]): Promise<readonly unknown[]> {
    const id = ++this.#requests;
    const answer = this.#answerTo(id);
    this.#worker.postMessage({ id, inputs } satisfies RewardRequest);
    return await answer;
  }

  /** Each completion has its time. @throws UserError that shows the completion */
  async oneByOne(
    completions: readonly JudgedCompletion[],
    { name, timeoutMs }: { name: string; timeoutMs: number },
  ): Promise<number[]> {
    const rewards: number[] = [];
    for (const completion of completions) {
      const problem = (what: string) =>
        new UserError(`task.reward: ${name} ${what} for ${describeCompletion(completion)}`);
      const late = () => problem(`did not return within ${durationOf(timeoutMs)} (task.rewardTimeoutMs)`);
      const answer = this.request([inputOf(completion)]).catch((error: unknown) => {
        throw problem(`threw ${JSON.stringify(fullMessageOf(error).slice(0, shownMax))}`);
      });
      const [reward] = await this.#within(answer, timeoutMs, late);
      if (typeof reward !== 'number' || !Number.isFinite(reward)) {
        throw problem(`returned ${typeof reward === 'number' ? reward : typeof reward}, expected a finite number,`);
      }
      rewards.push(reward);
    }
    return rewards;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  /** A thread that is late may compute forever: it is ended. */
  async #within<T>(work: Promise<T>, timeoutMs: number, late: () => UserError): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(late());
        void this.close();
      }, timeoutMs);
    });
    try {
      return await Promise.race([work, timeout]);
    } finally {
      clearTimeout(timer);
      work.catch(() => undefined); // of a thread that was ended
    }
  }

  #answerTo(id: number): Promise<readonly unknown[]> {
    const answer = new Promise<readonly unknown[]>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    answer.catch(() => undefined); // the code that awaits it sees the error
    if (this.#ended !== undefined) this.#end(this.#ended.error);
    return answer;
  }

  /** Requests that wait or follow fail with the first reason. */
  #end(error: unknown): void {
    this.#ended ??= { error };
    for (const { reject } of this.#waiting.values()) reject(this.#ended.error);
    this.#waiting.clear();
  }
}

function inputOf({ prompt: { messages, expected }, text, ended }: JudgedCompletion): RewardInput {
  return { prompt: messages.at(-1)!.content, messages, completion: text, ended, expected };
}
