/**
 * The samples that a run writes itself. For each iteration it collects the parts that workers roll out, has them rewarded, and writes them.
 * From then on the file is the truth: a coordinator that resumes in the middle of an iteration reads it, and needs no earlier policy.
 * When what happens is decided by core/rollingOut.ts.
 */
import { createHash } from 'node:crypto';
import type { Batch } from '../../base/batch.ts';
import { messageOf, UserError } from '../../base/errors.ts';
import { ExampleOrder } from '../../data/examples/exampleOrder.ts';
import type { TrainingSamples } from '../../data/runData.ts';
import type { Tokenizer } from '../../data/tokenizers/tokenizer.ts';
import { type AdvantageOptions, policyRows, type RewardedRollout, type RolloutSummary } from '../../task/advantages.ts';
import { targetsOf } from '../../task/nextToken.ts';
import { policySampleFields } from '../../task/policyBatch.ts';
import type { Prompt } from '../../task/prompts.ts';
import { type CompletionLimits, promptBatch, rolloutsOf } from '../../task/rolloutBatch.ts';
import { promptsPerPart } from '../../task/rolloutSize.ts';
import type { Rollout, RolloutPrompt } from '../../task/rollouts.ts';
import type { Sample } from '../../task/task.ts';
import { iterationAfter } from '../core/iterations.ts';
import type { KnownIteration, RolloutPlan } from '../core/runPlan.ts';
import { decodeRollouts, encodeRollouts, type IterationRollouts } from './rolloutFile.ts';
import { RolloutSamples } from './rolloutSamples.ts';
import type { RolloutStore } from './rolloutStore.ts';

/** A completion to be rewarded. */
export interface JudgedCompletion {
  readonly prompt: Prompt;
  /** The tokens of the completion, with its end token if it has one. */
  readonly tokens: Int32Array;
  /** Its text, without the end token. */
  readonly text: string;
  readonly ended: boolean;
}

/** Characters of a completion in a message. */
const shownMax = 400;

/** A completion, for messages. */
export function describeCompletion({ prompt: { at }, text }: JudgedCompletion): string {
  const shown = text.length <= shownMax ? text : `${text.slice(0, shownMax)}…`;
  return `the completion ${JSON.stringify(shown)} of ${at}`;
}

/** The reward of each completion. @throws UserError for one that cannot be rewarded, with its text */
export type Judge = (completions: readonly JudgedCompletion[]) => Promise<readonly number[]>;

/** The keys of `task` that matter here. */
export interface RolloutTask extends Omit<AdvantageOptions, 'kind'> {
  readonly kind: string;
  /** Number of prompts of an iteration. */
  readonly prompts: number;
  /** Number of passes over the rows of an iteration. */
  readonly inner: number;
  readonly maxTokens: number;
  readonly klMax: number;
}

export interface RolloutsOptions {
  readonly seed: number;
  readonly globalBatchSize: number;
  /** Number of passes over the prompts; 0: they never end. */
  readonly epochs: number;
  readonly blockSize: number;
  readonly vocabSize: number;
  readonly task: RolloutTask;
  /** All prompts of the run. */
  readonly prompts: readonly Prompt[];
  readonly endToken: number | undefined;
  readonly tokenizer: Pick<Tokenizer, 'decode'>;
  readonly judge: Judge;
  readonly store: RolloutStore;
  /** Steps of the checkpoints that the run may return to. */
  readonly checkpointSteps: () => Promise<readonly number[]>;
  readonly onWarning: (message: string) => void;
}

/** What was written. */
export interface WrittenIteration {
  readonly sha256: string;
  readonly summary: RolloutSummary;
}

/** The largest reward, above or below 0: the advantages that follow from it are within the bounds of a batch (task/policyBatch.ts). */
const rewardMax = 1e6;
/** Number of iterations whose files are kept in any case, to be read. */
const iterationsKept = 8;

export class Rollouts {
  readonly #options: RolloutsOptions;
  readonly #order: ExampleOrder;
  readonly #samples: RolloutSamples;
  readonly #partPrompts: number;
  /** The hash of each iteration that may be used. */
  readonly #hashes = new Map<number, string>();
  readonly #summaries = new Map<number, RolloutSummary>();
  #parts = new Map<number, readonly Rollout[]>();
  /** The iteration being written; another one waits for it. */
  #writing: Promise<unknown> = Promise.resolve();

  constructor(options: RolloutsOptions) {
    const { seed, globalBatchSize, epochs, blockSize, task, prompts } = options;
    this.#options = options;
    this.#order = new ExampleOrder(prompts.length, seed);
    this.#partPrompts = promptsPerPart(task, { prompts: task.prompts, blockSize });
    this.#samples = new RolloutSamples({
      seed,
      globalBatchSize,
      blockSize,
      rows: task.prompts * task.group,
      inner: task.inner,
      iterations: epochs === 0 ? Number.POSITIVE_INFINITY : epochs * Math.ceil(prompts.length / task.prompts),
      fields: policySampleFields(this.#kind),
      weight: targetsOf,
      load: (iteration) => this.#load(iteration),
    });
  }

  /** The progress of a run that resumes: its first `samples` samples had this number of tokens. */
  resumeAt(samples: number, tokens: number): void {
    this.#samples.resumeAt(samples, tokens);
  }

  get samples(): TrainingSamples {
    return this.#samples;
  }

  get plan(): RolloutPlan {
    const { task, globalBatchSize } = this.#options;
    return {
      stepsPerIteration: (task.prompts * task.group * task.inner) / globalBatchSize,
      parts: Math.ceil(task.prompts / this.#partPrompts),
      klMax: task.klMax,
    };
  }

  /** Number of updates before an iteration. */
  startOf(iteration: number): number {
    return (iteration - 1) * this.plan.stepsPerIteration;
  }

  /** Whether some of an iteration's steps, but not all, are among the first `step`. */
  isWithin(step: number, iteration: number): boolean {
    return step > this.startOf(iteration) && step < this.startOf(iteration + 1);
  }

  get endToken(): number | undefined {
    return this.#options.endToken;
  }

  /** Numbers of the iteration that a step, counted from 1, belongs to, by their names in metrics.jsonl. */
  meansAt(step: number): Readonly<Record<string, number>> {
    const iteration = iterationAfter(step - 1, this.plan.stepsPerIteration);
    if (this.#hashes.has(iteration) && !this.#summaries.has(iteration)) this.#load(iteration);
    const summary = this.#summaries.get(iteration);
    if (summary === undefined) return {};
    const { reward, rewardStd, kl, length, ended } = summary;
    return { reward, rewardStd, rolloutKl: kl, length, ended };
  }

  /** One line about an iteration whose rollouts are written. */
  describe(iteration: number): string {
    const { completions, reward, rewardStd, kl, length, ended, equalGroups } = this.#summaries.get(iteration)!;
    const mean = `reward ${reward.toPrecision(3)} ± ${rewardStd.toPrecision(3)}`;
    const of = `${length.toFixed(1)} tokens each, ${(100 * ended).toFixed(0)} % ended, KL ${kl.toPrecision(3)}`;
    const equal =
      this.#kind === 'grpo' && equalGroups > 0
        ? `, ${(100 * equalGroups).toFixed(0)} % of groups with equal rewards`
        : '';
    return `iteration ${iteration}: ${completions} rollouts, ${mean}, ${of}${equal} (sha256 ${this.#hashes.get(iteration)!.slice(0, 16)})`;
  }

  /** Parts of other rollouts are forgotten. */
  begin(iteration: number): void {
    this.#parts = new Map();
    this.#samples.forget(iteration);
    for (const known of this.#hashes.keys()) if (known >= iteration) this.#hashes.delete(known);
  }

  /** The prompts of a part. */
  promptsOf(iteration: number, part: number): Batch {
    return promptBatch(this.#promptsOf(iteration, part));
  }

  /** A part that a worker has made. @throws PeerError if it is not one */
  parse(iteration: number, part: number, batch: Batch): readonly Rollout[] {
    return rolloutsOf(batch, this.#promptsOf(iteration, part), this.#limits);
  }

  keep(part: number, rollouts: readonly Rollout[]): void {
    this.#parts.set(part, rollouts);
  }

  /**
   * Has the parts rewarded, and writes them.
   * @param unwritten steps of checkpoints that are being written: they need the rollouts of their iterations
   * @throws UserError for a reward that is not a finite number or too large; PeerError if the disk refuses
   */
  async write(iteration: number, unwritten: () => readonly number[] = () => []): Promise<WrittenIteration> {
    const parts = this.#parts;
    const rollouts = Array.from({ length: this.plan.parts }, (_, part) => parts.get(part) ?? []).flat();
    const before = this.#writing;
    const written = before.catch(() => undefined).then(() => this.#write(iteration, rollouts, unwritten));
    this.#writing = written.catch(() => undefined); // its caller sees the error
    return await written;
  }

  /** The rollouts are in the journal: their samples may be used. */
  known({ iteration, sha256 }: KnownIteration): void {
    this.#hashes.set(iteration, sha256);
  }

  /**
   * The iteration of the next step, for a run that continues after `step` updates, if its rollouts are on disk. Between two iterations they
   * can be made again: the policy that made them is the current one.
   * @param found those that the run had
   * @param cure what the user can do, as the end of a sentence
   * @throws UserError within an iteration, if they are missing or damaged
   */
  continued(step: number, found: KnownIteration | undefined, cure: string): KnownIteration | undefined {
    const { stepsPerIteration } = this.plan;
    const iteration = iterationAfter(step, stepsPerIteration);
    try {
      if (found?.iteration !== iteration)
        throw new UserError(`the hash of the rollouts of iteration ${iteration} is not known`);
      const content = this.#options.store.read(iteration);
      if (content === undefined) throw new UserError(`${this.#options.store.pathOf(iteration)} is missing`);
      this.#checked(iteration, content, found.sha256);
      return found;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      if (step % stepsPerIteration === 0) return undefined;
      throw new UserError(
        `${error.message}; step ${step} is within iteration ${iteration}, whose steps learn from it, and the model has changed since it wrote them: ${cure}`,
      );
    }
  }

  /** The divergence of an iteration's rollouts from the reference, per token. @throws UserError if they are missing or damaged */
  klOf(iteration: KnownIteration): number {
    this.known(iteration);
    this.#load(iteration.iteration);
    return this.#summaries.get(iteration.iteration)!.kl;
  }

  async #write(
    iteration: number,
    rollouts: readonly Rollout[],
    unwritten: () => readonly number[],
  ): Promise<WrittenIteration> {
    const { store, judge } = this.#options;
    const completions = rollouts.map((rollout) => this.#completion(rollout));
    const rewards = await judge(completions);
    for (const [i, completion] of completions.entries()) checkReward(rewards[i]!, completion);
    const rewarded = rollouts.map((rollout, i) => ({ ...rollout, reward: Math.fround(rewards[i]!) }));
    const content = { iteration, rollouts: rewarded };
    const bytes = encodeRollouts(content);
    await store.write(iteration, bytes, readable(iteration, completions, rewarded));
    await this.#prune(iteration, unwritten);
    this.#samples.add(iteration, this.#rowsOf(content));
    return { sha256: hashOf(bytes), summary: this.#summaries.get(iteration)! };
  }

  #load(iteration: number): readonly Sample[] {
    const { store } = this.#options;
    const sha256 = this.#hashes.get(iteration);
    const path = store.pathOf(iteration);
    const content = sha256 === undefined ? undefined : store.read(iteration);
    if (sha256 === undefined || content === undefined) {
      throw new UserError(`${path} is missing, and the steps of iteration ${iteration} learn from it: restore it`);
    }
    return this.#rowsOf(decodeRollouts(this.#checked(iteration, content, sha256), path));
  }

  #checked(iteration: number, content: Uint8Array, sha256: string): Uint8Array {
    const found = hashOf(content);
    if (found === sha256) return content;
    throw new UserError(
      `${this.#options.store.pathOf(iteration)} is damaged or of another run: its sha256 is ${found}, expected ${sha256}`,
    );
  }

  #rowsOf({ iteration, rollouts }: IterationRollouts): readonly Sample[] {
    const { task, prompts } = this.#options;
    const rewarded = rollouts.map((rollout): RewardedRollout => {
      return { ...rollout, promptTokens: prompts[rollout.prompt]!.tokens };
    });
    const { samples, summary } = policyRows(rewarded, { ...task, kind: this.#kind });
    this.#summaries.set(iteration, summary);
    return samples;
  }

  get #kind(): 'grpo' | 'ppo' {
    return this.#options.task.kind === 'ppo' ? 'ppo' : 'grpo';
  }

  get #limits(): CompletionLimits {
    const { blockSize, vocabSize, endToken, task } = this.#options;
    const { group, maxTokens } = task;
    return { blockSize, vocabSize, group, maxTokens, hasValues: this.#kind === 'ppo', endToken };
  }

  #promptsOf(iteration: number, part: number): RolloutPrompt[] {
    const { task, prompts } = this.#options;
    const from = part * this.#partPrompts;
    const count = Math.max(0, Math.min(this.#partPrompts, task.prompts - from));
    return Array.from({ length: count }, (_, i) => {
      const index = this.#promptAt(iteration, from + i);
      return { index, tokens: prompts[index]!.tokens };
    });
  }

  /** No prompt comes twice in an iteration: the last one of a pass takes those from its start that it lacks. */
  #promptAt(iteration: number, place: number): number {
    const { task, prompts } = this.#options;
    const perPass = Math.ceil(prompts.length / task.prompts);
    const pass = Math.floor((iteration - 1) / perPass);
    const inPass = ((iteration - 1) % perPass) * task.prompts + place;
    return this.#order.at(pass * prompts.length + (inPass % prompts.length));
  }

  #completion({ prompt, tokens, ended }: Rollout): JudgedCompletion {
    const { prompts, tokenizer } = this.#options;
    const text = tokenizer.decode(ended ? tokens.subarray(0, -1) : tokens);
    return { prompt: prompts[prompt]!, tokens, text, ended };
  }

  /** Keeps the files that a checkpoint within an iteration needs, and the newest. Nothing depends on the removal. */
  async #prune(iteration: number, unwritten: () => readonly number[]): Promise<void> {
    const { store, checkpointSteps, onWarning } = this.#options;
    try {
      // Before the others are listed: one that is complete by then is among those.
      const steps = [...unwritten(), ...(await checkpointSteps())];
      const needed = new Set(steps.map((step) => iterationAfter(step, this.plan.stepsPerIteration)));
      await store.prune(iteration - iterationsKept, (other) => needed.has(other));
    } catch (error) {
      onWarning(`old rollouts could not be removed: ${messageOf(error)}`);
    }
  }
}

/** Before anything is written: the steps would refuse what follows from it. @throws UserError for another reward, with the completion */
function checkReward(reward: number, completion: JudgedCompletion): void {
  if (Math.abs(reward) <= rewardMax) return;
  throw new UserError(
    `task.reward: expected a number from ${-rewardMax} to ${rewardMax}, received ${reward} for ${describeCompletion(completion)}`,
  );
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A line for each rollout. */
function readable(
  iteration: number,
  completions: readonly JudgedCompletion[],
  rollouts: readonly (Rollout & { reward: number })[],
): string {
  const lines = completions.map(({ prompt, text, ended }, i) => {
    const { member, reward, tokens, logprobs, reference } = rollouts[i]!;
    const { content } = prompt.messages.at(-1)!;
    const sums = { logprob: sum(logprobs), referenceLogprob: sum(reference) };
    const answer = prompt.expected === undefined ? {} : { expected: prompt.expected };
    return JSON.stringify({
      iteration,
      row: prompt.at,
      member,
      prompt: content,
      ...answer,
      completion: text,
      reward,
      ended,
      tokens: tokens.length,
      ...sums,
    });
  });
  return `${lines.join('\n')}\n`;
}

function sum(numbers: Float32Array): number {
  return numbers.reduce((total, number) => total + number, 0);
}
