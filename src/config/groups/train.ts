/** The group `train` of a config: how many steps of how many samples, and on what. */
import { z } from 'zod';
import { choice, pathsMax, real, whole } from '../../base/keyTypes.ts';

/** Of a parameter's name, which is no longer. */
const namePattern = z.string().min(1).max(256);

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
    trainable: z
      .union([namePattern, z.array(namePattern).min(1).max(pathsMax)])
      .default('all')
      .meta({
        description:
          'Parameters that are trained: all, or those whose names match a pattern, in which * stands for any characters, as `[transformer.h.3.*, transformer.ln_f.*]`; one that begins with * needs quotes, as `["*.attn.*"]`. The others are frozen: they keep their initial values, and have no gradients and no moments.',
        expects: 'all, or a pattern of parameter names, or a list of them',
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
