/** The group `train` of a config: number of steps, batch sizes and workers. */
import { z } from 'zod';
import { choice, pathsMax, real, whole } from '../../base/keyTypes.ts';

/** Parameter names are shorter than this. */
const namePattern = z.string().min(1).max(256);

export const train = z
  .strictObject({
    maxSteps: whole({
      default: 2000,
      min: 1,
      doc: 'Number of optimizer steps. `epochs` above 0 replaces it.',
    }),
    epochs: whole({
      default: 0,
      max: 1_000_000,
      doc: 'Number of times that the run trains on each row of `data.examples`, exactly: the number of steps follows from it, and the last batch may have fewer rows. 0: `maxSteps` counts.',
    }),
    seed: whole({
      default: 1337,
      max: 2 ** 32 - 1,
      doc: 'Seed of initialisation, sample order and dropout. The same seed gives the same run.',
    }),
    globalBatchSize: whole({
      default: 12,
      min: 1,
      max: 2 ** 20,
      doc: 'Sequences per optimizer step, over all workers.',
    }),
    microBatchSize: whole({
      default: 12,
      min: 1,
      max: 2 ** 16,
      doc: 'Maximum number of sequences that one worker processes at once, which bounds its memory; must divide globalBatchSize.',
    }),
    activationRecompute: choice(['none', 'block'], {
      default: 'none',
      doc: 'none: keep all activations for the backward pass. block: keep only the input of each block and recompute the rest, which needs less memory and gives the same result.',
    }),
    batchSplit: choice(['equal', 'proportional'], {
      default: 'equal',
      doc: 'equal: every worker gets the same number of sequences per step. proportional: faster workers get more, so that a slow one does not hold up the step. The split then depends on timing, and losses are the same up to rounding.',
    }),
    peakTflops: real({
      default: 0,
      min: 0,
      max: 1e9,
      doc: 'Combined peak of all workers in TFLOP/s, the denominator of `mfu` in metrics.jsonl. 0 uses the peak that workers measure when they start (native engine).',
    }),
    trainable: z
      .union([namePattern, z.array(namePattern).min(1).max(pathsMax)])
      .default('all')
      .meta({
        description:
          'Parameters to train. all: every parameter, or with LoRA (`model.loraRank`) only its factors and a head for labels. lora: only its factors. head: the output projection, unless it is also the token embedding. lastBlocks:N, such as lastBlocks:1: the last N blocks, the final layer norm and that head. Otherwise a pattern of names, or a list of these, such as `[transformer.h.3.*, transformer.ln_f.*]`, in which * matches any characters. A pattern that begins with * needs quotes, as in `["*.attn.*"]`. The other parameters are frozen: they keep their initial values and have no gradients or moments.',
        expects: 'all, lora, head, lastBlocks:N, or a pattern of parameter names, or a list of them',
      }),
    workers: whole({ default: 1, min: 1, max: 1024, doc: 'Worker processes to start on this machine.' }),
    hashEverySteps: whole({
      default: 50,
      doc: 'Steps between parameter-hash checks across workers; 0 disables them.',
    }),
    logEverySteps: whole({
      default: 10,
      min: 1,
      doc: 'Steps between printed lines; metrics.jsonl records every step.',
    }),
  })
  .meta({ description: 'The run.' });
