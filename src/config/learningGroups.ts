/**
 * The groups of a config that say from what is learned, and by which steps. The model: architecture/registry.ts. How the run is
 * carried out: runGroups.ts.
 */
import { z } from 'zod';
import { choice, path, pathMax, pathsMax, real, whole } from '../base/keyTypes.ts';
import { expectedTokenizer, isTokenizerKind, type TokenizerKind } from '../base/tokenizerKind.ts';

export const data = z
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

export const train = z
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
    batchSplit: choice(['equal', 'proportional'], {
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

export const optimizer = z
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

export const schedule = z
  .strictObject({
    kind: choice(['cosine', 'constant'], { default: 'cosine', doc: 'Shape of the learning rate after the warm-up.' }),
    learningRate: real({ default: 1e-3, min: 0, max: 100, doc: 'Peak learning rate.' }),
    minLearningRate: real({ default: 1e-4, min: 0, max: 100, doc: 'Learning rate at and after decaySteps (cosine).' }),
    warmupSteps: whole({ default: 100, doc: 'Steps over which the learning rate grows linearly from 0.' }),
    decaySteps: whole({ default: 0, doc: 'Step at which the cosine ends; 0 takes train.maxSteps.' }),
  })
  .meta({ description: 'The learning rate over the run.' });
