/**
 * The one schema of a training run: every key with its default, its bounds, its unit and its documentation. Everything else
 * about configs (error messages, `docs/config.md`, the rendered `config.yaml` of a run) is derived from it.
 *
 * It does not read files: see load.ts. Units are in the name (`...Ms`, `...Bytes...`, `...Steps`) or in the documentation.
 */
import { z } from 'zod';
import { expectedTokenizer, isTokenizerKind, type TokenizerKind } from '../base/tokenizerKind.ts';
import type { Config, ConfigInput } from './configTypes.ts';

/** What a leaf of the schema tells about itself, besides what zod knows. */
interface KeyDoc {
  readonly doc: string;
}

function whole({ doc, min = 0, max = 2 ** 31 - 1, ...rest }: KeyDoc & { default: number; min?: number; max?: number }) {
  const expects = `a whole number from ${min} to ${max}`;
  return z.int().min(min).max(max).default(rest.default).meta({ description: doc, expects });
}

function real({ doc, min, max, ...rest }: KeyDoc & { default: number; min: number; max: number }) {
  const expects = `a number from ${min} to ${max}`;
  return z.number().min(min).max(max).default(rest.default).meta({ description: doc, expects });
}

function bytes({ doc, min, max, ...rest }: KeyDoc & { default: number; min: number; max: number }) {
  const expects = `a multiple of 4 from ${min} to ${max}`;
  return z.int().min(min).max(max).multipleOf(4).default(rest.default).meta({ description: doc, expects });
}

function flag({ doc, ...rest }: KeyDoc & { default: boolean }) {
  return z.boolean().default(rest.default).meta({ description: doc, expects: 'true or false' });
}

function choice<const T extends readonly [string, ...string[]]>(
  values: T,
  { doc, ...rest }: KeyDoc & { default: T[number] },
) {
  // A default of an enum is one of its values; zod's type for it says the same in a form TypeScript cannot relate to T.
  const expects = `one of ${values.join(', ')}`;
  return z
    .enum(values)
    .default(rest.default as z.core.util.NoUndefined<T[number]>)
    .meta({ description: doc, expects });
}

function string({ doc, max, ...rest }: KeyDoc & { default: string; max: number }) {
  const expects = `a string of 1 to ${max} characters`;
  return z.string().min(1).max(max).default(rest.default).meta({ description: doc, expects });
}

const pathMax = 4096;
const pathsMax = 1000;
const path = z.string().min(1).max(pathMax);

const model = z
  .strictObject({
    nLayer: whole({ default: 4, min: 1, max: 512, doc: 'Transformer blocks.' }),
    nHead: whole({ default: 4, min: 1, max: 1024, doc: 'Attention heads of each block; must divide nEmbd.' }),
    nEmbd: whole({ default: 128, min: 1, max: 65_536, doc: 'Width of the residual stream (channels).' }),
    blockSize: whole({ default: 64, min: 1, max: 65_536, doc: 'Context length, in tokens.' }),
    vocabSize: whole({
      default: 0,
      max: 2 ** 24,
      doc: 'Rows of the token embedding; 0 takes the size of the tokenizer, more pads it (50304 instead of 50257, say).',
    }),
    dropout: real({
      default: 0,
      min: 0,
      max: 0.95,
      doc: 'Probability of dropping an element after attention weights, projections and embeddings.',
    }),
    bias: flag({ default: true, doc: 'Whether linear layers and layer norms have a bias, as GPT-2 has.' }),
    activation: choice(['gelu', 'relu'], {
      default: 'gelu',
      doc: "The MLP's non-linearity; gelu is the tanh form that GPT-2 uses.",
    }),
    tiedHead: flag({ default: true, doc: 'Whether the output projection shares the token embedding, as in GPT-2.' }),
  })
  .meta({ description: 'The network. A GPT-2 with these sizes.' });

const data = z
  .strictObject({
    text: z
      .union([path, z.array(path).min(1).max(pathsMax)])
      .default('builtin')
      .meta({
        description:
          "Text to train on: a file, a folder, a glob, or a list of them, relative to the working folder; `builtin` is the project's own source and documentation, which needs no download.",
        expects: 'builtin, or a path, folder or glob, or a list of them',
      }),
    tokenizer: z
      .custom<TokenizerKind>((value) => typeof value === 'string' && value.length <= pathMax && isTokenizerKind(value))
      .default('char')
      .meta({
        description:
          "char: one token for each distinct character of the text. byte: one for each byte. gpt2, cl100k, o200k: the published byte-pair encodings, of 50257, 100277 and 200019 tokens. bpe:8000, or another number: a byte-pair encoding of so many tokens, trained on the text. Or a tokenizer.json of Hugging Face's format (BPE or Unigram), or its folder, relative to the working folder.",
        expects: expectedTokenizer,
      }),
    shards: z
      .union([path, z.array(path).max(pathsMax)])
      .default([])
      .meta({
        description:
          'Folders of tokens that `launch prepare` made, relative to the working folder: they are read from the disk as they are needed, and take the place of `text`. Several are a mixture. `tokenizer` must be the one they were made with; their splits are their own.',
        expects: 'a folder, or a list of folders',
      }),
    weights: z.array(z.number().min(0.000001).max(1e9)).max(pathsMax).default([]).meta({
      description:
        'How the samples are shared out among the folders of `shards`, as [3, 1] for three of the first to one of the second; empty: in proportion to their tokens.',
      expects: 'a list of numbers above 0',
    }),
    sampler: choice(['random', 'shuffled'], {
      default: 'random',
      doc: 'random: windows at random, with replacement. shuffled: every window once an epoch, in another order and from another offset each time. Either follows from the seed and the step alone.',
    }),
    valFraction: real({
      default: 0.1,
      min: 0.0001,
      max: 0.9,
      doc: 'Share of the characters, at the end of the text, that is held out for validation.',
    }),
  })
  .meta({ description: 'What it learns from.' });

const train = z
  .strictObject({
    maxSteps: whole({ default: 2000, min: 1, doc: 'Optimizer steps of the whole run.' }),
    seed: whole({
      default: 1337,
      max: 2 ** 32 - 1,
      doc: 'Decides initialisation, sample order and dropout: the same seed gives the same run.',
    }),
    globalBatchSize: whole({
      default: 12,
      min: 1,
      max: 2 ** 20,
      doc: 'Sequences in one optimizer step, over all workers.',
    }),
    microBatchSize: whole({
      default: 12,
      min: 1,
      max: 2 ** 16,
      doc: 'Most sequences that go through the model at once on one worker (memory); must divide globalBatchSize.',
    }),
    activationRecompute: choice(['none', 'block'], {
      default: 'none',
      doc: 'block: forward keeps of each block only its input, and backward computes the rest again; less memory, the same result.',
    }),
    leases: choice(['equal', 'proportional'], {
      default: 'equal',
      doc: 'equal: every worker gets the same number of sequences of a step. proportional: as many as its measured speed allows, so that a slow one does not set the pace; the split then depends on timing, and losses are the same up to rounding.',
    }),
    peakTflops: real({
      default: 0,
      min: 0,
      max: 1e9,
      doc: 'What all workers together could compute at best, in 10^12 floating-point operations a second: what mfu in metrics.jsonl is a part of. 0 takes what the workers measure when they start (native engine).',
    }),
    workers: whole({ default: 1, min: 1, max: 1024, doc: 'Worker processes that `launch` starts on this machine.' }),
    hashEverySteps: whole({
      default: 50,
      doc: 'Every so many steps all workers compare a hash of their parameters; 0 never does.',
    }),
    logEverySteps: whole({
      default: 10,
      min: 1,
      doc: 'Every so many steps a line is printed (metrics.jsonl gets every step).',
    }),
  })
  .meta({ description: 'The run.' });

const optimizer = z
  .strictObject({
    beta1: real({ default: 0.9, min: 0, max: 0.9999999, doc: "AdamW's decay rate of the first moment." }),
    beta2: real({ default: 0.95, min: 0, max: 0.9999999, doc: "AdamW's decay rate of the second moment." }),
    eps: real({ default: 1e-8, min: 1e-12, max: 1, doc: "AdamW's term that keeps the division finite." }),
    weightDecay: real({
      default: 0.1,
      min: 0,
      max: 10,
      doc: 'Decoupled weight decay, on matrices only (not on biases and layer norms).',
    }),
    gradClip: real({ default: 1, min: 0, max: 1e6, doc: "Largest global norm of the gradient; 0 doesn't clip." }),
  })
  .meta({ description: 'AdamW.' });

const schedule = z
  .strictObject({
    kind: choice(['cosine', 'constant'], { default: 'cosine', doc: 'Shape of the learning rate after the warm-up.' }),
    learningRate: real({ default: 1e-3, min: 0, max: 100, doc: 'Peak learning rate.' }),
    minLearningRate: real({ default: 1e-4, min: 0, max: 100, doc: 'Learning rate at and after decaySteps (cosine).' }),
    warmupSteps: whole({ default: 100, doc: 'Steps over which the learning rate grows linearly from 0.' }),
    decaySteps: whole({ default: 0, doc: 'Step at which the cosine ends; 0 takes train.maxSteps.' }),
  })
  .meta({ description: 'The learning rate over the run.' });

const checkpoint = z
  .strictObject({
    everySteps: whole({
      default: 500,
      doc: 'Steps between checkpoints; one is always written at the end. 0 writes that one only.',
    }),
    keep: whole({
      default: 3,
      min: 1,
      max: 10_000,
      doc: 'Newest checkpoints that stay on disk; the best by validation loss stays as well.',
    }),
  })
  .meta({ description: 'Saving the run.' });

const evaluation = z
  .strictObject({
    everySteps: whole({ default: 250, doc: 'Steps between estimates of the validation loss; 0 never estimates it.' }),
    batches: whole({
      default: 20,
      doc: 'Batches of microBatchSize sequences, spread over the validation split, in one estimate; 0 takes the whole split.',
    }),
  })
  .meta({ description: 'Validation while training. `launch eval` always uses the whole split.' });

const sample = z
  .strictObject({
    prompt: string({ default: '\n', max: 100_000, doc: 'Text that the sample printed at the end of a run continues.' }),
    maxTokens: whole({ default: 200, max: 1_000_000, doc: 'Tokens to generate; 0 prints no sample.' }),
    temperature: real({
      default: 0.8,
      min: 0,
      max: 100,
      doc: 'Below 1 likelier tokens, above 1 more variety; 0 always takes the likeliest.',
    }),
    topK: whole({ default: 200, doc: 'Draws from the K likeliest tokens only; 0 from all.' }),
    topP: real({
      default: 1,
      min: 0.0001,
      max: 1,
      doc: 'Draws from the likeliest tokens that together have this probability; 1 from all.',
    }),
  })
  .meta({ description: 'The text printed when training ends.' });

const engine = z
  .strictObject({
    name: choice(['auto', 'native', 'tfjs'], {
      default: 'auto',
      doc: 'native: the C++ addon. tfjs: TensorFlow.js. auto: native where it was compiled, else tfjs on wasm.',
    }),
    device: choice(['auto', 'tensorflow', 'webgpu', 'wasm', 'cpu'], {
      default: 'auto',
      doc: 'Backend of the tfjs engine; auto takes wasm.',
    }),
    threads: whole({
      default: 0,
      max: 256,
      doc: 'Compute threads of each worker; 0 divides the cores among the workers of this machine.',
    }),
    precision: choice(['float32', 'bf16'], {
      default: 'float32',
      doc: 'bf16: matrix products of bfloat16 numbers, summed in float32, and activations in bfloat16; parameters, optimizer and the residual stream stay float32. It is for training and its validation: the sample at the end, `launch generate` and `launch eval` compute in float32. For the native engine; fast where the CPU has AMX, on some with AVX512-BF16 (launch doctor).',
    }),
  })
  .meta({ description: 'What computes.' });

const comm = z
  .strictObject({
    bucketBytesMax: bytes({
      default: 4 * 2 ** 20,
      min: 4,
      max: 2 ** 30,
      doc: 'Gradients travel in buckets of at most this many bytes, each as soon as it is final.',
    }),
    chunkBytes: bytes({
      default: 512 * 2 ** 10,
      min: 4,
      max: 2 ** 24, // what a stranger can have a rank allocate (comm/zmqSocket.ts)
      doc: 'Bytes in one message of the ring.',
    }),
    heartbeatIntervalMs: whole({
      default: 1000,
      min: 10,
      max: 3_600_000,
      doc: 'Milliseconds between signs of life of a worker.',
    }),
    heartbeatTimeoutMs: whole({
      default: 10_000,
      min: 20,
      max: 36_000_000,
      doc: 'Milliseconds of silence after which a worker counts as dead.',
    }),
    stepTimeoutMs: whole({
      default: 600_000,
      min: 100,
      max: 360_000_000,
      doc: 'Milliseconds in which every worker must have finished a step; one that has not is left out.',
    }),
    joinTimeoutMs: whole({
      default: 60_000,
      min: 100,
      max: 36_000_000,
      doc: 'Milliseconds that a run waits for workers: those it starts with, or those it needs after a loss.',
    }),
    rejoinTimeoutMs: whole({
      default: 60_000,
      max: 36_000_000,
      doc: 'Milliseconds that a worker which has lost its coordinator keeps its state and tries to reach it, or the one that `launch --resume` starts.',
    }),
  })
  .meta({ description: 'Messages between the processes.' });

const groups = z.strictObject({
  model: model.prefault({}),
  data: data.prefault({}),
  train: train.prefault({}),
  optimizer: optimizer.prefault({}),
  schedule: schedule.prefault({}),
  checkpoint: checkpoint.prefault({}),
  eval: evaluation.prefault({}),
  sample: sample.prefault({}),
  engine: engine.prefault({}),
  comm: comm.prefault({}),
});

/** A rule between two keys. Both are named, with where each value came from, when it is broken. */
export interface CrossCheck {
  readonly key: string;
  readonly other: string;
  /** Stands between the two keys in the message: `model.nEmbd = 10 must be divisible by model.nHead = 3`. */
  readonly must: string;
  readonly holds: (config: Config) => boolean;
}

export const crossChecks: readonly CrossCheck[] = [
  {
    key: 'data.weights',
    other: 'data.shards',
    must: 'must have as many numbers as there are folders in',
    holds: ({ data }) => data.weights.length === 0 || data.weights.length === [data.shards].flat().length,
  },
  {
    key: 'model.nEmbd',
    other: 'model.nHead',
    must: 'must be divisible by',
    holds: ({ model }) => model.nEmbd % model.nHead === 0,
  },
  {
    key: 'train.globalBatchSize',
    other: 'train.microBatchSize',
    must: 'must be divisible by',
    holds: ({ train }) => train.globalBatchSize % train.microBatchSize === 0,
  },
  {
    key: 'train.globalBatchSize',
    other: 'train.workers',
    must: 'must give every worker a sequence, so be at least',
    holds: ({ train }) => train.globalBatchSize >= train.workers,
  },
  {
    key: 'schedule.minLearningRate',
    other: 'schedule.learningRate',
    must: 'must not be above',
    holds: ({ schedule }) => schedule.minLearningRate <= schedule.learningRate,
  },
  {
    key: 'schedule.decaySteps',
    other: 'schedule.warmupSteps',
    must: 'must be 0 or above',
    holds: ({ schedule }) => schedule.decaySteps === 0 || schedule.decaySteps > schedule.warmupSteps,
  },
  {
    key: 'engine.device',
    other: 'engine.name',
    must: 'is for the tfjs engine only, but there is',
    holds: ({ engine }) => engine.device === 'auto' || engine.name === 'tfjs',
  },
  {
    key: 'engine.precision',
    other: 'engine.name',
    must: 'is for the native engine only, but there is',
    holds: ({ engine }) => engine.precision === 'float32' || engine.name !== 'tfjs',
  },
  {
    key: 'comm.heartbeatTimeoutMs',
    other: 'comm.heartbeatIntervalMs',
    must: 'must be at least twice',
    holds: ({ comm }) => comm.heartbeatTimeoutMs >= 2 * comm.heartbeatIntervalMs,
  },
  {
    key: 'comm.bucketBytesMax',
    other: 'comm.chunkBytes',
    must: 'must be at least',
    holds: ({ comm }) => comm.bucketBytesMax >= comm.chunkBytes,
  },
];

/**
 * Parses a plain object (from YAML, from a checkpoint, from the wire) to a complete configuration. Unknown keys fail. A broken
 * {@link CrossCheck} is a `custom` issue on its key, with the check's index in `params.crossCheck`.
 */
export const configSchema: z.ZodType<Config, ConfigInput> = groups.superRefine((config, context) => {
  for (const [index, check] of crossChecks.entries()) {
    if (check.holds(config)) continue;
    context.addIssue({
      code: 'custom',
      path: check.key.split('.'),
      message: `${check.key} ${check.must} ${check.other}`,
      params: { crossCheck: index },
    });
  }
});

/** The groups by name, for whatever documents or renders them. */
export const groupSchemas = {
  model,
  data,
  train,
  optimizer,
  schedule,
  checkpoint,
  eval: evaluation,
  sample,
  engine,
  comm,
};
