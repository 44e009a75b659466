/**
 * What a simulated run writes itself: rollouts that are a function of the state and of their place, the disk they are on, and what must hold
 * of them.
 */
import { createHash } from 'node:crypto';
import type { Batch } from '../../src/base/batch.ts';
import { randomKey, randomUniform } from '../../src/base/counterRandom.ts';
import { decodeRollouts } from '../../src/coordinator/rollouts/rolloutFile.ts';
import type { RolloutStore } from '../../src/coordinator/rollouts/rolloutStore.ts';
import { Rollouts } from '../../src/coordinator/rollouts/rollouts.ts';
import type { RolloutLimits } from '../../src/task/rolloutBatch.ts';
import type { Rollout, RolloutPrompt } from '../../src/task/rollouts.ts';
import type { SimProcess, World } from './world.ts';

const group = 2;
const maxTokens = 3;
const endToken = 0;
export const rolloutLimits: RolloutLimits = { blockSize: 8, vocabSize: 8, group, maxTokens, hasValues: false };

/** What the model with this hash writes. */
export function simulatedRollouts(
  state: string,
  prompts: readonly RolloutPrompt[],
  iteration: number,
  endToken: number | undefined,
): Rollout[] {
  const word = Number.parseInt(state.slice(0, 8), 16);
  return prompts.flatMap(({ index }) =>
    Array.from({ length: group }, (_, member): Rollout => {
      const key = randomKey(word, iteration, index, member);
      const drawn = Array.from({ length: maxTokens }, (_, i) => Math.floor(8 * randomUniform(key, i)));
      const end = drawn.indexOf(endToken ?? -1);
      const tokens = Int32Array.from(end < 0 ? drawn : drawn.slice(0, end + 1));
      const logprobs = Float32Array.from(tokens, (_, i) => -randomUniform(key, 10 + i));
      return { prompt: index, member, tokens, logprobs, reference: logprobs.map((p) => p / 2), ended: end >= 0 };
    }),
  );
}

/** Hash of a file and the rows that steps learn from it, each as a text. */
interface Written {
  readonly bytes: Uint8Array;
  readonly sha256: string;
}

export interface RolloutSetting {
  readonly prompts: number;
  readonly inner: number;
  readonly globalBatchSize: number;
  readonly seed: number;
}

/** The disk, and the record of what was used. */
export class RolloutDisk {
  readonly #world: World;
  readonly #setting: RolloutSetting;
  readonly #files = new Map<number, Written>();
  /** The hash of each iteration in the journal; a rewind makes later ones void. */
  readonly #journalled = new Map<number, string>();
  /** What each state has written. */
  readonly #byState = new Map<string, string>();
  /** The rows of each step that was committed last. */
  readonly #rows = new Map<number, readonly string[]>();
  /** The rows that ranks were given for a step, by the first sample. */
  readonly #given = new Map<number, Map<number, readonly string[]>>();
  /** Number of iterations written. */
  written = 0;

  constructor(world: World, setting: RolloutSetting) {
    this.#world = world;
    this.#setting = setting;
  }

  get stepsPerIteration(): number {
    const { prompts, inner, globalBatchSize } = this.#setting;
    return (prompts * group * inner) / globalBatchSize;
  }

  /** Those of a process: it writes nothing after its end. */
  of(process: SimProcess, checkpointSteps: () => readonly number[]): Rollouts {
    const { prompts, inner, globalBatchSize, seed } = this.#setting;
    const takes = (ms: number) =>
      new Promise<void>((resolve) => void process.after(this.#world.random.between(0, ms), resolve));
    const store: RolloutStore = {
      pathOf: (iteration) => `iteration-${iteration}`,
      write: async (iteration, bytes) => {
        await takes(30);
        const sha256 = createHash('sha256').update(bytes).digest('hex');
        this.#files.set(iteration, { bytes: bytes.slice(), sha256 });
        this.written++;
        await takes(5);
      },
      read: (iteration) => this.#files.get(iteration)?.bytes,
      prune: async (before, isNeeded) => {
        await takes(5);
        for (const known of this.#files.keys()) if (known < before && !isNeeded(known)) this.#files.delete(known);
      },
    };
    return new Rollouts({
      seed,
      globalBatchSize,
      store,
      epochs: 0,
      blockSize: 8,
      vocabSize: 8,
      endToken,
      task: {
        kind: 'grpo',
        prompts,
        group,
        inner,
        maxTokens,
        klMax: 0,
        beta: 0.1,
        gamma: 1,
        gaeLambda: 1,
        scaleAdvantages: false,
      },
      prompts: Array.from({ length: 7 }, (_, i) => ({
        at: `row ${i}`,
        tokens: [i, 1],
        messages: [{ role: 'user', content: '' }],
        expected: '',
      })),
      tokenizer: { decode: (tokens) => Array.from(tokens).join(' ') },
      judge: async (completions) => {
        await takes(100);
        return completions.map(({ tokens }, i) => tokens.length + i / 8);
      },
      checkpointSteps: async () => checkpointSteps(),
      onWarning: (message) => this.#world.trace(`warning: ${message}`),
    });
  }

  /** @param state hash of the committed state */
  journalled({ step, iteration, sha256 }: { step: number; iteration: number; sha256: string }, state: string): void {
    if (step !== (iteration - 1) * this.stepsPerIteration) {
      this.#world.wrong(`the rollouts of iteration ${iteration} are made at step ${step}`);
    }
    if (this.#files.get(iteration)?.sha256 !== sha256) {
      this.#world.wrong(`the rollouts of iteration ${iteration} are in the journal before they are on disk`);
    }
    const written = decodeRollouts(this.#files.get(iteration)!.bytes, '').rollouts;
    const expected = written.map(({ prompt, member }) => {
      const tokens = simulatedRollouts(state, [{ index: prompt, tokens: [] }], iteration, endToken)[member]!;
      return textOf(tokens.tokens, tokens.logprobs);
    });
    if (written.map(({ tokens, logprobs }) => textOf(tokens, logprobs)).join() !== expected.join()) {
      this.#world.wrong(`the rollouts of iteration ${iteration} were not made by the state of step ${step}`);
    }
    const key = `${iteration} ${state}`;
    if ((this.#byState.get(key) ?? sha256) !== sha256) {
      this.#world.wrong(`the same state has written other rollouts of iteration ${iteration}`);
    }
    this.#byState.set(key, sha256);
    this.#journalled.set(iteration, sha256);
  }

  /** Later iterations are void, and the journal has the record of the one that it is within once more. */
  rewound(step: number): void {
    for (const known of this.#journalled.keys()) {
      if ((known - 1) * this.stepsPerIteration >= step) this.#journalled.delete(known);
    }
  }

  given(step: number, sampleFrom: number, batch: Batch): void {
    const iteration = this.#iterationOf(step);
    if (!this.#journalled.has(iteration)) {
      this.#world.wrong(
        `samples of step ${step} are used before the journal has the rollouts of iteration ${iteration}`,
      );
    }
    const { data, shape } = batch.arrays['targets']!;
    const logprobs = batch.arrays['logprobs']!.data;
    const width = shape[0]!;
    const rows = Array.from({ length: batch.sampleCount }, (_, i) => {
      const numbers = Array.from(data.subarray(i * width, (i + 1) * width));
      const at = numbers.flatMap((target, t) => (target < 0 ? [] : [t]));
      return textOf(
        at.map((t) => numbers[t]!),
        at.map((t) => logprobs[i * width + t]!),
      );
    });
    const given = this.#given.get(step) ?? new Map<number, readonly string[]>();
    this.#given.set(step, given.set(sampleFrom, rows));
  }

  /** @param shares in order */
  committed(step: number, shares: readonly { readonly sampleFrom: number }[]): void {
    this.#rows.set(
      step,
      shares.flatMap(({ sampleFrom }) => this.#given.get(step)?.get(sampleFrom) ?? []),
    );
  }

  /** Every row of every iteration was used once in each pass. */
  check(maxSteps: number): void {
    const { inner } = this.#setting;
    for (let end = this.stepsPerIteration; end <= maxSteps; end += this.stepsPerIteration) {
      const iteration = this.#iterationOf(end);
      const file = this.#files.get(iteration);
      // Old ones are removed.
      if (file === undefined) continue;
      if (file.sha256 !== this.#journalled.get(iteration)) {
        this.#world.wrong(`the file of iteration ${iteration} is not that of the journal`);
      }
      const rows = decodeRollouts(file.bytes, '').rollouts.map(({ tokens, logprobs }) => textOf(tokens, logprobs));
      const expected = rows.flatMap((row) => Array<string>(inner).fill(row)).sort();
      const steps = Array.from({ length: this.stepsPerIteration }, (_, i) => end - i);
      const used = steps.flatMap((step) => this.#rows.get(step) ?? []).sort();
      if (used.join() !== expected.join()) {
        this.#world.wrong(`the rows of iteration ${iteration} were not each used ${inner} times`);
      }
    }
  }

  #iterationOf(step: number): number {
    return Math.ceil(step / this.stepsPerIteration);
  }
}

function textOf(tokens: ArrayLike<number>, logprobs: ArrayLike<number>): string {
  return `${Array.from(tokens).join(' ')}:${Array.from(logprobs).join(' ')}`;
}
