/**
 * Rollouts: completions that a model draws from its own distribution, with what it, the reference and the value head say about each
 * token. They are drawn with temperature 1 and without top-k and top-p, so the log probabilities are those of the distribution that
 * training changes.
 *
 * A rollout is a function of the model, the reference and its place (seed, iteration, prompt, member), to the bit: its random numbers
 * follow from its place, decoding together changes no bit (decodeBatch.ts), and each rollout goes alone through the passes over complete
 * texts.
 */
import { hasValueHead } from '../architecture/valueHead.ts';
import { invariant } from '../base/errors.ts';
import type { Engine } from '../engine/engine.ts';
import type { Rollout, RolloutPrompt, RolloutRequest } from '../task/rollouts.ts';
import { paddedTo } from '../task/task.ts';
import type { Precision } from './computing.ts';
import { DecodeBatch, type Sequence } from './decodeBatch.ts';
import { checkFinite } from './divergence.ts';
import { tokenLogprobs } from './logprobs.ts';
import type { Model } from './model.ts';
import { Tape } from './tape.ts';

/** The models of a rollout, on one engine. */
export interface RolloutModels {
  readonly engine: Engine;
  /** The model that draws; its values are part of the rollouts if it has a value head. */
  readonly model: Model;
  /** The model at the start of the run (referenceModel.ts). */
  readonly reference: Model;
  /** That of training. With bf16 the log probabilities come from a pass like those of training, because text is drawn in float32. */
  readonly precision: Precision;
}

/** The random stream of rollouts: other streams of the run have other words here. */
const stream = 0x726f6c6c;
/** Completions that are drawn together; each has a cache of keys and values. */
export const drawnTogether = 16;
/** Draws from the model's own distribution. */
const sampling = { temperature: 1, topK: 0, topP: 1 };

/** A completion in progress. */
interface Draft {
  readonly prompt: RolloutPrompt;
  readonly member: number;
  readonly tokens: number[];
  readonly logprobs: number[];
  ended: boolean;
}

/**
 * The completions of the prompts: for each prompt its group, in order.
 * @throws UserError if a number is not finite: the model has diverged
 */
export async function rolloutPart(models: RolloutModels, request: RolloutRequest): Promise<Rollout[]> {
  const drafts = request.prompts.flatMap((prompt) =>
    Array.from(
      { length: request.group },
      (_, member): Draft => ({ prompt, member, tokens: [], logprobs: [], ended: false }),
    ),
  );
  await draw(models, drafts, request);
  const rollouts: Rollout[] = [];
  for (const draft of drafts) rollouts.push(await judged(models, draft));
  return rollouts;
}

/** Draws the tokens of all drafts. When one is complete, the next takes its place. */
async function draw(
  { engine, model }: RolloutModels,
  drafts: readonly Draft[],
  request: RolloutRequest,
): Promise<void> {
  const { seed, iteration, endToken } = request;
  const batch = new DecodeBatch(engine, model);
  const drawing = new Map<Sequence, Draft>();
  const waiting = drafts.values();
  const addNext = (): void => {
    const { value: draft, done } = waiting.next();
    if (done) return;
    const { prompt, member } = draft;
    const sequence = { prompt: prompt.tokens, seed: [seed, stream, iteration, prompt.index, member], ...sampling };
    drawing.set(batch.add(sequence), draft);
  };
  try {
    for (let i = 0; i < drawnTogether; i++) addNext();
    while (drawing.size > 0) {
      for (const { sequence, token, logits } of await batch.step()) {
        const draft = drawing.get(sequence)!;
        draft.tokens.push(token);
        draft.logprobs.push(tokenLogprobs(logits, token, 0).logprob);
        draft.ended = token === endToken;
        if (!draft.ended && draft.tokens.length < lengthMax(model, draft.prompt, request)) continue;
        batch.remove(sequence);
        drawing.delete(sequence);
        addNext();
      }
    }
  } finally {
    batch.release();
  }
}

/** The last token is predicted from a full context, and needs no place in it. */
function lengthMax({ config }: Model, { tokens }: RolloutPrompt, { maxTokens }: RolloutRequest): number {
  const room = config.blockSize - tokens.length + 1;
  invariant(room >= 1, `a prompt of ${tokens.length} tokens is longer than blockSize ${config.blockSize}`);
  return Math.min(maxTokens, room);
}

/** The draft with what passes over its complete text say about its tokens. */
async function judged(models: RolloutModels, draft: Draft): Promise<Rollout> {
  const { engine, model, reference, precision } = models;
  const { prompt, member, ended } = draft;
  const text = paddedText(draft, model.config.blockSize);
  const own =
    precision === 'float32' ? Float32Array.from(draft.logprobs) : await logprobsOf(engine, model, text, precision);
  const values = hasValueHead(model.config) ? await valuesOf(engine, model, text, precision) : undefined;
  return {
    prompt: prompt.index,
    member,
    tokens: Int32Array.from(draft.tokens),
    logprobs: own,
    reference: await logprobsOf(engine, reference, text, precision),
    ...(values && { values }),
    ended,
  };
}

interface PaddedText {
  /** [T]: the prompt and the completion without its last token, padded. */
  readonly tokens: Int32Array;
  /** [T]: the completion; -1 elsewhere. */
  readonly targets: Int32Array;
  /** The positions of the completion's targets. */
  readonly from: number;
  readonly to: number;
}

/** Padded to one of few lengths, so that buffers are used again. */
function paddedText({ prompt, tokens: completion }: Draft, blockSize: number): PaddedText {
  const from = prompt.tokens.length - 1;
  const to = from + completion.length;
  const length = paddedTo(to, blockSize);
  const [tokens, targets] = [new Int32Array(length), new Int32Array(length).fill(-1)];
  tokens.set(prompt.tokens);
  tokens.set(completion.slice(0, -1), prompt.tokens.length);
  targets.set(completion, from);
  return { tokens, targets, from, to };
}

async function logprobsOf(
  engine: Engine,
  model: Model,
  { tokens, targets, from, to }: PaddedText,
  precision: Precision,
): Promise<Float32Array> {
  const tape = new Tape(engine, precision);
  try {
    const inputs = tape.upload(tokens, [1, tokens.length]);
    const losses = await tape.read(model.losses(tape, inputs, tape.upload(targets, [targets.length])));
    // A device's logarithm of 1 may be slightly above 0.
    return losses.subarray(from, to).map((loss) => Math.min(0, -finite('a log probability', loss)));
  } finally {
    tape.discard();
  }
}

async function valuesOf(engine: Engine, model: Model, { tokens, from, to }: PaddedText, precision: Precision) {
  const tape = new Tape(engine, precision);
  try {
    const values = await tape.read(model.values(tape, tape.upload(tokens, [1, tokens.length])));
    return values.slice(from, to).map((value) => finite('a value', value));
  } finally {
    tape.discard();
  }
}

function finite(what: string, number: number): number {
  checkFinite(`${what} of a rollout`, number);
  return number;
}
