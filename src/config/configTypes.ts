/**
 * The types of a config, with the documentation of its keys. Written from the schema (schema.ts) by scripts/write-config-docs.mjs:
 * edit those.
 */
import type { TokenizerKind } from '../base/tokenizerKind.ts';

/** A GPT-2 with these sizes. */
export interface Gpt2Keys {
  /** The kind of network, on which the other keys depend. Default `"gpt2"`, one of gpt2, bigram. */
  architecture: 'gpt2';
  /** Weights to begin with instead of random ones: a run directory, a checkpoint, or a folder of GPT-2 weights as Hugging Face's transformers saves it, relative to the working folder. Sizes and tokenizer come from it, and keys that contradict it are errors. Steps, schedule and optimizer begin anew. Default `""`, a path, or "" for random weights. */
  from: string;
  /** Transformer blocks. Default `4`, a whole number from 1 to 512. */
  nLayer: number;
  /** Attention heads of each block; must divide nEmbd. Default `4`, a whole number from 1 to 1024. */
  nHead: number;
  /** Width of the residual stream (channels). Default `128`, a whole number from 1 to 65536. */
  nEmbd: number;
  /** Context length, in tokens. Default `64`, a whole number from 1 to 65536. */
  blockSize: number;
  /** Rows of the token embedding; 0 takes the size of the tokenizer, more pads it (50304 instead of 50257, say). Default `0`, a whole number from 0 to 16777216. */
  vocabSize: number;
  /** Probability of dropping an element after attention weights, projections and embeddings. Default `0`, a number from 0 to 0.95. */
  dropout: number;
  /** Whether linear layers and layer norms have a bias, as GPT-2 has. Default `true`, true or false. */
  bias: boolean;
  /** The MLP's non-linearity. gelu: the tanh form that GPT-2 uses. relu: max(x, 0). silu: x · sigmoid(x). Default `"gelu"`, one of gelu, relu, silu. */
  activation: 'gelu' | 'relu' | 'silu';
  /** Whether the output projection shares the token embedding, as in GPT-2. Default `true`, true or false. */
  tiedHead: boolean;
}

/** A table of logits: each token predicts the next. */
export interface BigramKeys {
  /** The kind of network, on which the other keys depend. Default `"gpt2"`, one of gpt2, bigram. */
  architecture: 'bigram';
  /** Weights to begin with instead of random ones: a run directory, a checkpoint, or a folder of GPT-2 weights as Hugging Face's transformers saves it, relative to the working folder. Sizes and tokenizer come from it, and keys that contradict it are errors. Steps, schedule and optimizer begin anew. Default `""`, a path, or "" for random weights. */
  from: string;
  /** Tokens of a sequence; each is predicted from one. Default `64`, a whole number from 1 to 65536. */
  blockSize: number;
  /** Rows and columns of the table; 0 takes the size of the tokenizer. Default `0`, a whole number from 0 to 65536. */
  vocabSize: number;
}

/** The network. */
export type ModelKeys = Gpt2Keys | BigramKeys;

/** What it learns from. */
export interface DataKeys {
  /** Text to train on: a file, a folder, a glob, or a list of them, relative to the working folder; `builtin` is the text that comes with the package, Tiny Shakespeare. Default `"builtin"`, builtin, or a path, folder or glob, or a list of them. */
  text: string | string[];
  /** char: one token for each distinct character of the text. byte: one for each byte. gpt2, cl100k, o200k: the published byte-pair encodings, of 50257, 100277 and 200019 tokens. bpe:8000, or another number: a byte-pair encoding of so many tokens, trained on the text. Or a tokenizer.json of Hugging Face's format (BPE or Unigram), or its folder, relative to the working folder. Default `"char"`, one of char, byte, gpt2, cl100k, o200k, bpe:N with N from 257 to 1000000 tokens, or the path of a tokenizer.json or its folder (with a / in it). */
  tokenizer: TokenizerKind;
  /** Where files of `text` and `validation` are JSON or tables: the key of an object, or the name of a column, that has the text. Default `"text"`, a string of 1 to 1000 characters. */
  field: string;
  /** What the files of `text` and `validation` are. auto: as their names and content say. jsonl: a JSON object in each line; json: an array of objects; csv, tsv: a table whose first row names the columns. gzip and zstd are always recognised. Default `"auto"`, one of auto, text, jsonl, json, csv, tsv, parquet. */
  format: 'auto' | 'text' | 'jsonl' | 'json' | 'csv' | 'tsv' | 'parquet';
  /** lf: the line ends of Windows, CRLF, become LF, and a notice says so. keep: the text stays as it is. Default `"lf"`, one of lf, keep. */
  lineEndings: 'lf' | 'keep';
  /** Folders of tokens that `launch prepare` made, relative to the working folder: they are read from the disk as they are needed, and take the place of `text`. Several are a mixture. Tokenizer and splits are their own; a `tokenizer` that is set must be the one they were made with. Default `[]`, a folder, or a list of folders. */
  shards: string | string[];
  /** How the samples are shared out among the folders of `shards`, as [3, 1] for three of the first to one of the second; empty: in proportion to their tokens. Default `[]`, a list of numbers above 0. */
  weights: number[];
  /** random: windows at random, with replacement. shuffled: every window once an epoch, in another order and from another offset each time. Either follows from the seed and the step alone. Default `"random"`, one of random, shuffled. */
  sampler: 'random' | 'shuffled';
  /** Share of the characters, at the end of the text, that is held out for validation. 0 needs `validation`, or eval.everySteps: 0. Default `0.1`, a number from 0 to 0.9. */
  valFraction: number;
  /** Text to validate with, as `text`, or a folder that `launch prepare` made with the same tokenizer, which validates as a whole. Then all of `text` trains, and of `shards` what their splits have to train on. Default `[]`, a path, folder or glob, or a list of them. */
  validation: string | string[];
}

/** The run. */
export interface TrainKeys {
  /** Optimizer steps of the whole run. Default `2000`, a whole number from 1 to 2147483647. */
  maxSteps: number;
  /** Decides initialisation, sample order and dropout: the same seed gives the same run. Default `1337`, a whole number from 0 to 4294967295. */
  seed: number;
  /** Sequences in one optimizer step, over all workers. Default `12`, a whole number from 1 to 1048576. */
  globalBatchSize: number;
  /** Most sequences that go through the model at once on one worker (memory); must divide globalBatchSize. Default `12`, a whole number from 1 to 65536. */
  microBatchSize: number;
  /** block: forward keeps of each block only its input, and backward computes the rest again; less memory, the same result. Default `"none"`, one of none, block. */
  activationRecompute: 'none' | 'block';
  /** equal: every worker gets the same number of sequences of a step. proportional: as many as its measured speed allows, so that a slow one does not set the pace; the split then depends on timing, and losses are the same up to rounding. Default `"equal"`, one of equal, proportional. */
  batchSplit: 'equal' | 'proportional';
  /** What all workers together could compute at best, in 10^12 floating-point operations a second: what mfu in metrics.jsonl is a part of. 0 takes what the workers measure when they start (native engine). Default `0`, a number from 0 to 1000000000. */
  peakTflops: number;
  /** Parameters that are trained: all, or those whose names match a pattern, in which * stands for any characters, as `[transformer.h.3.*, transformer.ln_f.*]`; one that begins with * needs quotes, as `["*.attn.*"]`. The others are frozen: they keep their initial values, and have no gradients and no moments. Default `"all"`, all, or a pattern of parameter names, or a list of them. */
  trainable: string | string[];
  /** Worker processes that `launch` starts on this machine. Default `1`, a whole number from 1 to 1024. */
  workers: number;
  /** Every so many steps all workers compare a hash of their parameters; 0 never does. Default `50`, a whole number from 0 to 2147483647. */
  hashEverySteps: number;
  /** Every so many steps a line is printed (metrics.jsonl gets every step). Default `10`, a whole number from 1 to 2147483647. */
  logEverySteps: number;
}

/** AdamW. */
export interface OptimizerKeys {
  /** AdamW's decay rate of the first moment. Default `0.9`, a number from 0 to 0.9999999. */
  beta1: number;
  /** AdamW's decay rate of the second moment. Default `0.95`, a number from 0 to 0.9999999. */
  beta2: number;
  /** AdamW's term that keeps the division finite. Default `1e-8`, a number from 1e-12 to 1. */
  eps: number;
  /** Decoupled weight decay, on matrices only (not on biases and layer norms). Default `0.1`, a number from 0 to 10. */
  weightDecay: number;
  /** Largest global norm of the gradient; 0 doesn't clip. Default `1`, a number from 0 to 1000000. */
  gradClip: number;
}

/** The learning rate over the run. */
export interface ScheduleKeys {
  /** Shape of the learning rate after the warm-up. Default `"cosine"`, one of cosine, constant. */
  kind: 'cosine' | 'constant';
  /** Peak learning rate. Default `0.001`, a number from 0 to 100. */
  learningRate: number;
  /** Learning rate at and after decaySteps (cosine). Default `0.0001`, a number from 0 to 100. */
  minLearningRate: number;
  /** Steps over which the learning rate grows linearly from 0. Default `100`, a whole number from 0 to 2147483647. */
  warmupSteps: number;
  /** Step at which the cosine ends; 0 takes train.maxSteps. Default `0`, a whole number from 0 to 2147483647. */
  decaySteps: number;
}

/** Saving the run. */
export interface CheckpointKeys {
  /** Steps between checkpoints; one is always written at the end. 0 writes that one only. Default `500`, a whole number from 0 to 2147483647. */
  everySteps: number;
  /** Newest checkpoints that stay on disk; the best by validation loss stays as well. Default `3`, a whole number from 1 to 10000. */
  keep: number;
  /** Whether a checkpoint is also written after each estimate of the validation loss that is the lowest so far. Default `false`, true or false. */
  best: boolean;
}

/** Validation while training. `launch eval` always uses the whole split. */
export interface EvalKeys {
  /** Steps between estimates of the validation loss; 0 never estimates it. Default `250`, a whole number from 0 to 2147483647. */
  everySteps: number;
  /** Batches of microBatchSize sequences, spread over the validation split, in one estimate; 0 takes the whole split. Default `20`, a whole number from 0 to 2147483647. */
  batches: number;
  /** Early stopping: ends the run after this many validation estimates in a row without a lower loss. Each new best model is saved, as with checkpoint.best. 0 trains to the last step. Default `0`, a whole number from 0 to 2147483647. */
  stopAfter: number;
}

/** The text printed when training ends. */
export interface SampleKeys {
  /** Text that the sample printed at the end of a run continues. Default `"\n"`, a string of 1 to 100000 characters. */
  prompt: string;
  /** Tokens to generate; 0 prints no sample. Default `200`, a whole number from 0 to 1000000. */
  maxTokens: number;
  /** Below 1 likelier tokens, above 1 more variety; 0 always takes the likeliest. Default `0.8`, a number from 0 to 100. */
  temperature: number;
  /** Draws from the K likeliest tokens only; 0 from all. Default `200`, a whole number from 0 to 2147483647. */
  topK: number;
  /** Draws from the likeliest tokens that together have this probability; 1 from all. Default `1`, a number from 0.0001 to 1. */
  topP: number;
}

/** What computes. */
export interface EngineKeys {
  /** native: the C++ addon. tfjs: TensorFlow.js. auto: native where it was compiled, else tfjs on wasm. Default `"auto"`, one of auto, native, tfjs. */
  name: 'auto' | 'native' | 'tfjs';
  /** Backend of the tfjs engine; auto takes wasm. Default `"auto"`, one of auto, tensorflow, webgpu, wasm, cpu. */
  deviceKind: 'auto' | 'tensorflow' | 'webgpu' | 'wasm' | 'cpu';
  /** Which device of an engine that has several, for all workers; auto gives each worker of a machine its own, the first device 0. Default `"auto"`, auto or a whole number from 0 to 1023. */
  device: 'auto' | number;
  /** Compute threads of each worker; 0 divides the cores among the workers of this machine. Default `0`, a whole number from 0 to 256. */
  threads: number;
  /** bf16: matrix products of bfloat16 numbers, summed in float32, and activations in bfloat16; parameters, optimizer and the residual stream stay float32. It is for training and its validation: the sample at the end, `launch generate` and `launch eval` compute in float32. For the native engine; fast where the CPU has AMX, on some with AVX-512 BF16 (launch doctor). Default `"float32"`, one of float32, bf16. */
  precision: 'float32' | 'bf16';
}

/** Messages between the processes. */
export interface CommKeys {
  /** Gradients travel in buckets of at most this many bytes, each as soon as it is final. Default `4194304`, a multiple of 4 from 4 to 1073741824. */
  bucketBytesMax: number;
  /** Bytes in one message of the ring. Default `524288`, a multiple of 4 from 4 to 16777216. */
  chunkBytes: number;
  /** Milliseconds between signs of life of a worker. Default `1000`, a whole number from 10 to 3600000. */
  heartbeatIntervalMs: number;
  /** Milliseconds of silence after which a worker counts as dead. Default `10000`, a whole number from 20 to 36000000. */
  heartbeatTimeoutMs: number;
  /** Milliseconds in which every worker must have finished a step; one that has not is left out. Default `600000`, a whole number from 100 to 360000000. */
  stepTimeoutMs: number;
  /** Milliseconds that a run waits for workers: those it starts with, or those it needs after a loss. Default `60000`, a whole number from 100 to 36000000. */
  joinTimeoutMs: number;
  /** Milliseconds that a worker which has lost its coordinator keeps its state and tries to reach it, or the one that `launch --resume` starts. Default `60000`, a whole number from 0 to 36000000. */
  rejoinTimeoutMs: number;
}

/** A complete, valid config: every key of every group is there. */
export interface Config {
  /** The network. */
  model: ModelKeys;
  /** What it learns from. */
  data: DataKeys;
  /** The run. */
  train: TrainKeys;
  /** AdamW. */
  optimizer: OptimizerKeys;
  /** The learning rate over the run. */
  schedule: ScheduleKeys;
  /** Saving the run. */
  checkpoint: CheckpointKeys;
  /** Validation while training. `launch eval` always uses the whole split. */
  eval: EvalKeys;
  /** The text printed when training ends. */
  sample: SampleKeys;
  /** What computes. */
  engine: EngineKeys;
  /** Messages between the processes. */
  comm: CommKeys;
}

/** A group of keys as it is written: each may be left out, and has its default then. */
export type KeysInput<Group> = { [Key in keyof Group]?: Group[Key] | undefined };

/** A config as it is written, in YAML or for `train`: any group and key may be left out. */
export type ConfigInput = { [Group in keyof Config]?: KeysInput<Config[Group]> | undefined };
