/** The groups of a config that say how a run is carried out, and what comes of it. What is learned: learningGroups.ts. */
import { z } from 'zod';
import { bytes, choice, real, string, whole } from '../base/keyTypes.ts';
import { deviceNames, engineNames, engines } from '../engine/engines.ts';

export const checkpoint = z
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

export const evaluation = z
  .strictObject({
    everySteps: whole({ default: 250, doc: 'Steps between estimates of the validation loss; 0 never estimates it.' }),
    batches: whole({
      default: 20,
      doc: 'Batches of microBatchSize sequences, spread over the validation split, in one estimate; 0 takes the whole split.',
    }),
  })
  .meta({ description: 'Validation while training. `launch eval` always uses the whole split.' });

export const sample = z
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

const engineDocs = Object.entries(engines)
  .map(([name, { doc }]) => `${name}: ${doc}.`)
  .join(' ');

export const engine = z
  .strictObject({
    name: choice(engineNames, {
      default: 'auto',
      doc: `${engineDocs} auto: native where it was compiled, else tfjs on wasm.`,
    }),
    device: choice(deviceNames, {
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

export const comm = z
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
