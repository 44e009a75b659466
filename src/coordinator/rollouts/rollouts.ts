/**
 * The samples that a run writes itself. For each iteration it collects the parts that workers roll out, has them rewarded, and writes them.
 * From then on the file is the truth: a coordinator that resumes in the middle of an iteration reads it, and needs no earlier policy.
 * When what happens is decided by core/rollingOut.ts.
 */
import type { Batch } from '../../base/batch.ts';
import { messageOf, UserError } from '../../base/errors.ts';
import type { TrainingSamples } from '../../data/runData.ts';
import type { Tokenizer } from '../../data/tokenizers/tokenizer.ts';
import { type AdvantageOptions, policyRows, type RewardedRollout, type RolloutSummary } from '../../task/advantages.ts';
import { targetsOf } from '../../task/nextToken.ts';
import { policySampleFields } from '../../task/policyBatch.ts';
import type { Prompt } from '../../task/prompts.ts';
import { type CompletionLimits, promptBatch, rolloutsOf } from '../../task/rolloutBatch.ts';
import { promptsPerPart } from '../../task/rolloutSize.ts';
import type { Rollout } from '../../task/rollouts.ts';
import type { Sample } from '../../task/task.ts';
import { iterationAfter } from '../core/iterations.ts';
import type { KnownIteration, RolloutPlan } from '../core/runPlan.ts';
import { IterationPrompts } from './iterationPrompts.ts';
import { type Judge, type JudgedCompletion, readableLines, rewardsOf } from './judgedCompletions.ts';
import { RecordedIterations, sha256Of } from './recordedIterations.ts';
import { encodeRollouts, type IterationRollouts } from './rolloutFile.ts';
import { RolloutSamples } from './rolloutSamples.ts';
import type { RolloutStore } from './rolloutStore.ts';

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

/** Number of iterations whose files are kept in any case, to be read. */
const iterationsKept = 8;

export class Rollouts {
  readonly #options: RolloutsOptions;
  readonly #prompts: IterationPrompts;
  readonly #samples: RolloutSamples;
  /** The iterations that may be used. */
  readonly #recorded: RecordedIterations;
  readonly #summaries = new Map<number, RolloutSummary>();
  #parts = new Map<number, readonly Rollout[]>();
  /** The iteration being written; another one waits for it. */
  #writing: Promise<unknown> = Promise.resolve();

  constructor(options: RolloutsOptions) {
    const { seed, globalBatchSize, epochs, blockSize, task, prompts } = options;
    this.#options = options;
    const perPart = promptsPerPart(task, { prompts: task.prompts, blockSize });
    this.#prompts = new IterationPrompts({ seed, prompts, perIteration: task.prompts, perPart });
    this.#recorded = new RecordedIterations(options.store);
    this.#samples = new RolloutSamples({
      seed,
      globalBatchSize,
      blockSize,
      rows: task.prompts * task.group,
      inner: task.inner,
      iterations: epochs === 0 ? Number.POSITIVE_INFINITY : epochs * this.#prompts.iterationsPerPass,
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
      parts: this.#prompts.parts,
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
    if (this.#recorded.has(iteration) && !this.#summaries.has(iteration)) this.#load(iteration);
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
    return `iteration ${iteration}: ${completions} rollouts, ${mean}, ${of}${equal} (sha256 ${this.#recorded.sha256Of(iteration).slice(0, 16)})`;
  }

  /** Parts of other rollouts are forgotten. */
  begin(iteration: number): void {
    this.#parts = new Map();
    this.#samples.forget(iteration);
    this.#recorded.forgetFrom(iteration);
  }

  /** The prompts of a part. */
  promptsOf(iteration: number, part: number): Batch {
    return promptBatch(this.#prompts.of(iteration, part));
  }

  /** A part that a worker has made. @throws PeerError if it is not one */
  parse(iteration: number, part: number, batch: Batch): readonly Rollout[] {
    return rolloutsOf(batch, this.#prompts.of(iteration, part), this.#limits);
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
  known(iteration: KnownIteration): void {
    this.#recorded.add(iteration);
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
      this.#recorded.check(found);
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
    const rewards = await rewardsOf(completions, judge);
    const rewarded = rollouts.map((rollout, i) => ({ ...rollout, reward: Math.fround(rewards[i]!) }));
    const content = { iteration, rollouts: rewarded };
    const bytes = encodeRollouts(content);
    await store.write(iteration, bytes, readableLines(iteration, completions, rewarded));
    await this.#prune(iteration, unwritten);
    this.#samples.add(iteration, this.#rowsOf(content));
    return { sha256: sha256Of(bytes), summary: this.#summaries.get(iteration)! };
  }

  #load(iteration: number): readonly Sample[] {
    return this.#rowsOf(this.#recorded.read(iteration));
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
