/**
 * The types of a config, with the documentation of its keys. Generated from schema.ts by scripts/write-config-docs.mjs: edit
 * the schema.
 */
import type { TokenizerKind } from '../base/tokenizerKind.ts';

/** A GPT-2 with these sizes. */
export interface Gpt2Keys {
  /** The kind of network, which determines the other keys. Default `"gpt2"`, one of gpt2, bigram, transformer, encoderDecoder. */
  architecture: 'gpt2';
  /** Initial weights, instead of random ones: a run directory, a checkpoint, or a folder of GPT-2 or Llama weights saved by Hugging Face's transformers, relative to the working folder. Sizes and tokenizer come from there, and keys that contradict them are errors; only blockSize is free if positions are not in a table. Steps, schedule and optimizer start from scratch. Default `""`, a path, or "" for random weights. */
  from: string;
  /** Transformer blocks. Default `4`, a whole number from 1 to 512. */
  nLayer: number;
  /** Attention heads per block; must divide nEmbd. Default `4`, a whole number from 1 to 1024. */
  nHead: number;
  /** Width of the residual stream (channels). Default `128`, a whole number from 1 to 65536. */
  nEmbd: number;
  /** Context length in tokens. Default `64`, a whole number from 1 to 65536. */
  blockSize: number;
  /** Rows of the token embedding; 0 uses the tokenizer size, a larger number pads it (such as 50304 for 50257). Default `0`, a whole number from 0 to 16777216. */
  vocabSize: number;
  /** Probability of dropping an element after attention weights, projections and embeddings. Default `0`, a number from 0 to 0.95. */
  dropout: number;
  /** Give linear layers and layer norms a bias, as in GPT-2. Default `true`, true or false. */
  bias: boolean;
  /** The MLP's non-linearity. gelu: the tanh form that GPT-2 uses. relu: max(x, 0). silu: x · sigmoid(x). Default `"gelu"`, one of gelu, relu, silu. */
  activation: 'gelu' | 'relu' | 'silu';
  /** Share the token embedding with the output projection, as in GPT-2. Default `true`, true or false. */
  tiedHead: boolean;
  /** Names of the classes of a classification head, in order, which replaces the output projection; one name is a score, as of a reward model. [] is a language model. A run may add them to the weights of `from`. Default `[]`, a list of different names, at most 10000. */
  labels: string[];
  /** Add a value head, which predicts the reward of a text from its start. Only runs with task.kind ppo have one, and they add it by themselves. Default `false`, true or false. */
  valueHead: boolean;
  /** Rank r of LoRA: the layers of loraTargets compute with W + loraAlpha / r · (B·A)ᵀ, and only A [r, inputs] and B [outputs, r] are trained. 0 disables LoRA. A run may add it to the weights of `from`. Default `0`, a whole number from 0 to 65536. */
  loraRank: number;
  /** Scale of what LoRA adds, multiplied by 1 / loraRank. Default `16`, a number from 0 to 1000000. */
  loraAlpha: number;
  /** Linear layers that LoRA adapts, in every block. A name without attn or mlp means both. Default `["c_attn"]`, a list of different names, each one of c_attn, c_proj, attn.c_proj, c_fc, mlp.c_proj. */
  loraTargets: ('c_attn' | 'c_proj' | 'attn.c_proj' | 'c_fc' | 'mlp.c_proj')[];
}

/** A table of logits in which each token predicts the next. */
export interface BigramKeys {
  /** The kind of network, which determines the other keys. Default `"gpt2"`, one of gpt2, bigram, transformer, encoderDecoder. */
  architecture: 'bigram';
  /** Initial weights, instead of random ones: a run directory, a checkpoint, or a folder of GPT-2 or Llama weights saved by Hugging Face's transformers, relative to the working folder. Sizes and tokenizer come from there, and keys that contradict them are errors; only blockSize is free if positions are not in a table. Steps, schedule and optimizer start from scratch. Default `""`, a path, or "" for random weights. */
  from: string;
  /** Tokens per sequence; each is predicted from the one before. Default `64`, a whole number from 1 to 65536. */
  blockSize: number;
  /** Rows and columns of the table; 0 uses the tokenizer size. Default `0`, a whole number from 0 to 65536. */
  vocabSize: number;
}

/** A decoder with these parts, by default those of Llama. */
export interface TransformerKeys {
  /** The kind of network, which determines the other keys. Default `"gpt2"`, one of gpt2, bigram, transformer, encoderDecoder. */
  architecture: 'transformer';
  /** Initial weights, instead of random ones: a run directory, a checkpoint, or a folder of GPT-2 or Llama weights saved by Hugging Face's transformers, relative to the working folder. Sizes and tokenizer come from there, and keys that contradict them are errors; only blockSize is free if positions are not in a table. Steps, schedule and optimizer start from scratch. Default `""`, a path, or "" for random weights. */
  from: string;
  /** Transformer blocks. Default `4`, a whole number from 1 to 512. */
  nLayer: number;
  /** Query heads of attention per block; must divide nEmbd. Default `4`, a whole number from 1 to 1024. */
  nHead: number;
  /** Heads of keys and values, each for nHead / nKvHead query heads (grouped queries); must divide nHead. 0 is nHead. Default `0`, a whole number from 0 to 1024. */
  nKvHead: number;
  /** Width of the residual stream (channels). Default `128`, a whole number from 1 to 65536. */
  nEmbd: number;
  /** Inner width of the MLP. 0 is 4 · nEmbd, and for a gated MLP 8/3 · nEmbd, rounded up to a multiple of 32. Default `0`, a whole number from 0 to 262144. */
  nInner: number;
  /** Context length in tokens. Default `64`, a whole number from 1 to 1048576. */
  blockSize: number;
  /** Rows of the token embedding; 0 uses the tokenizer size, a larger number pads it. Default `0`, a whole number from 0 to 16777216. */
  vocabSize: number;
  /** How tokens know their positions. rope: queries and keys are rotated, as in Llama. learned: a trained table, as in GPT-2. sinusoidal: the fixed table of the first Transformer. none: only the causal mask shows the order. Default `"rope"`, one of rope, learned, sinusoidal, none. */
  positions: 'rope' | 'learned' | 'sinusoidal' | 'none';
  /** Base of the wavelengths of rope. Default `10000`, a number from 1 to 1000000000000. */
  ropeTheta: number;
  /** Stretches the wavelengths of rope, for longer contexts. []: none. [factor] stretches all. [factor, lowFrequencyFactor, highFrequencyFactor, originalContext] stretches only the long ones, as in Llama 3.1. Default `[]`, a list of 0 or 1 or 4 numbers above 0, at most 1000000000. */
  ropeScaling: number[];
  /** rms: x / RMS(x) · weight, as in Llama. layer: layer norm, as in GPT-2. Default `"rms"`, one of rms, layer. */
  norm: 'rms' | 'layer';
  /** pre: before attention and MLP, and at the end. post: after each is added to the residual stream, as in the first Transformer. Default `"pre"`, one of pre, post. */
  normPlace: 'pre' | 'post';
  /** Added to the variance or mean square that a norm divides by. Default `0.00001`, a number from 1e-12 to 1. */
  normEps: number;
  /** swiglu: silu(gate) · up, as in Llama. geglu: gelu(gate) · up. The others are an activation between two linear layers. Default `"swiglu"`, one of swiglu, geglu, gelu, relu, silu. */
  mlp: 'swiglu' | 'geglu' | 'gelu' | 'relu' | 'silu';
  /** Layers with a bias. none: no layer. qkv: queries, keys and values. attention: these and the output of attention. all: every layer and layer norm, but no rms norm. Default `"none"`, one of none, qkv, attention, all. */
  bias: 'none' | 'qkv' | 'attention' | 'all';
  /** Share the token embedding with the output projection. Default `true`, true or false. */
  tiedHead: boolean;
  /** Probability of dropping an element after attention weights, projections and embeddings. Default `0`, a number from 0 to 0.95. */
  dropout: number;
  /** Names of the classes of a classification head, in order, which replaces the output projection; one name is a score, as of a reward model. [] is a language model. A run may add them to the weights of `from`. Default `[]`, a list of different names, at most 10000. */
  labels: string[];
  /** Add a value head, which predicts the reward of a text from its start. Only runs with task.kind ppo have one, and they add it by themselves. Default `false`, true or false. */
  valueHead: boolean;
  /** Rank r of LoRA: the layers of loraTargets compute with W + loraAlpha / r · (B·A)ᵀ, and only A [r, inputs] and B [outputs, r] are trained. 0 disables LoRA. A run may add it to the weights of `from`. Default `0`, a whole number from 0 to 65536. */
  loraRank: number;
  /** Scale of what LoRA adds, multiplied by 1 / loraRank. Default `16`, a number from 0 to 1000000. */
  loraAlpha: number;
  /** Linear layers that LoRA adapts, in every block. gate_up_proj is the first layer of a gated MLP, up_proj that of the others. Default `["qkv_proj"]`, a list of different names, each one of qkv_proj, o_proj, gate_up_proj, up_proj, down_proj. */
  loraTargets: ('qkv_proj' | 'o_proj' | 'gate_up_proj' | 'up_proj' | 'down_proj')[];
}

/** An encoder of a source and a decoder of a target, for tasks such as translation; by default the first Transformer. */
export interface EncoderDecoderKeys {
  /** The kind of network, which determines the other keys. Default `"gpt2"`, one of gpt2, bigram, transformer, encoderDecoder. */
  architecture: 'encoderDecoder';
  /** Initial weights, instead of random ones: a run directory, a checkpoint, or a folder of GPT-2 or Llama weights saved by Hugging Face's transformers, relative to the working folder. Sizes and tokenizer come from there, and keys that contradict them are errors; only blockSize is free if positions are not in a table. Steps, schedule and optimizer start from scratch. Default `""`, a path, or "" for random weights. */
  from: string;
  /** Blocks of the decoder. Default `4`, a whole number from 1 to 512. */
  nLayer: number;
  /** Blocks of the encoder. Default `4`, a whole number from 1 to 512. */
  encoderLayers: number;
  /** Query heads of attention per block; must divide nEmbd. Default `4`, a whole number from 1 to 1024. */
  nHead: number;
  /** Heads of keys and values, each for nHead / nKvHead query heads (grouped queries); must divide nHead. 0 is nHead. Default `0`, a whole number from 0 to 1024. */
  nKvHead: number;
  /** Width of the residual stream (channels). Default `128`, a whole number from 1 to 65536. */
  nEmbd: number;
  /** Inner width of the MLP. 0 is 4 · nEmbd, and for a gated MLP 8/3 · nEmbd, rounded up to a multiple of 32. Default `0`, a whole number from 0 to 262144. */
  nInner: number;
  /** Length of the longest source, and of the longest target, in tokens. Default `64`, a whole number from 1 to 65536. */
  blockSize: number;
  /** Rows of the token embedding, which sources and targets share; 0 uses the tokenizer size, a larger number pads it. Default `0`, a whole number from 0 to 16777216. */
  vocabSize: number;
  /** How tokens know their positions. sinusoidal: the fixed table of the first Transformer. learned: a trained table for sources and one for targets. none: only the causal mask of targets shows the order. Default `"sinusoidal"`, one of sinusoidal, learned, none. */
  positions: 'sinusoidal' | 'learned' | 'none';
  /** Multiply token embeddings by the square root of nEmbd before positions are added, as in the first Transformer. Default `true`, true or false. */
  scaleEmbedding: boolean;
  /** rms: x / RMS(x) · weight, as in Llama. layer: layer norm, as in GPT-2. Default `"layer"`, one of rms, layer. */
  norm: 'rms' | 'layer';
  /** pre: before attention and MLP, and at the end. post: after each is added to the residual stream, as in the first Transformer. Default `"post"`, one of pre, post. */
  normPlace: 'pre' | 'post';
  /** Added to the variance or mean square that a norm divides by. Default `0.00001`, a number from 1e-12 to 1. */
  normEps: number;
  /** swiglu: silu(gate) · up, as in Llama. geglu: gelu(gate) · up. The others are an activation between two linear layers. Default `"relu"`, one of swiglu, geglu, gelu, relu, silu. */
  mlp: 'swiglu' | 'geglu' | 'gelu' | 'relu' | 'silu';
  /** Layers with a bias. none: no layer. qkv: queries, keys and values. attention: these and the output of attention. all: every layer and layer norm, but no rms norm. Default `"all"`, one of none, qkv, attention, all. */
  bias: 'none' | 'qkv' | 'attention' | 'all';
  /** Share the token embedding with the output projection. Default `true`, true or false. */
  tiedHead: boolean;
  /** Probability of dropping an element after attention weights, projections and embeddings. Default `0`, a number from 0 to 0.95. */
  dropout: number;
  /** Id of the token that every target begins with. -1: the token that ends it. Weights of MarianMT have their own. Default `-1`, a whole number from -1 to 16777216. */
  beginToken: number;
  /** Rank r of LoRA: the layers of loraTargets compute with W + loraAlpha / r · (B·A)ᵀ, and only A [r, inputs] and B [outputs, r] are trained. 0 disables LoRA. A run may add it to the weights of `from`. Default `0`, a whole number from 0 to 65536. */
  loraRank: number;
  /** Scale of what LoRA adds, multiplied by 1 / loraRank. Default `16`, a number from 0 to 1000000. */
  loraAlpha: number;
  /** Linear layers that LoRA adapts, in every block. q_proj and kv_proj belong to attention to the source. fc1 and fc2 are the layers of an MLP. Default `["qkv_proj"]`, a list of different names, each one of qkv_proj, q_proj, kv_proj, out_proj, fc1, fc2. */
  loraTargets: ('qkv_proj' | 'q_proj' | 'kv_proj' | 'out_proj' | 'fc1' | 'fc2')[];
}

/** The network. */
export type ModelKeys = Gpt2Keys | BigramKeys | TransformerKeys | EncoderDecoderKeys;

/** The training data. */
export interface DataKeys {
  /** Text to train on: a file, a folder, a glob, or a list of these, relative to the working folder. `builtin` is Tiny Shakespeare, which comes with the package. Default `"builtin"`, builtin, or a path, folder or glob, or a list of them. */
  text: string | string[];
  /** Rows to train on instead of text: files, folders or globs of JSON Lines, JSON, CSV, TSV or Parquet, also compressed, relative to the working folder. `task.kind` says what a row contains. Each row is one sample. All rows are in memory. With `task.kind: seq2seq`, they may also be two text files with aligned lines, the sources first: [train.en, train.es]. `builtin` is a small set that comes with the package, for every kind but lm. Default `[]`, a path, folder or glob, or a list of them. */
  examples: string | string[];
  /** Names of the columns of the CSV and TSV files of `examples` and their `validation`, if these have no header row: [label, text]. Empty: the first row of each table names its columns. A first row with all of these names also counts as a header. With =, it selects columns or keys of rows in any format and renames them: [label=v1, text=v2]. Default `[]`, a list of column names. */
  columns: string[];
  /** char: one token per distinct character of the text. byte: one token per byte. gpt2, cl100k, o200k: the published byte-pair encodings, with 50257, 100277 and 200019 tokens. bpe:N, such as bpe:8000: a byte-pair encoding of N tokens, trained on the text. A value with a slash, or one that ends in .json, is the path of a tokenizer.json in Hugging Face's format (BPE or Unigram), or of its folder, relative to the working folder or at s3://BUCKET/PATH. Default `"char"`, one of char, byte, gpt2, cl100k, o200k, bpe:N with N from 257 to 1000000 tokens, or the path of a tokenizer.json or its folder (with a / in it). */
  tokenizer: TokenizerKind;
  /** Name of the JSON key or table column that holds the text, where files of `text` and `validation` are JSON or tables. Default `"text"`, a string of 1 to 1000 characters. */
  field: string;
  /** Format of the files of `text`, `examples` and `validation`. auto: detect it from name and content. jsonl: one JSON object per line. json: an array of objects or strings. csv, tsv: a table whose first row names the columns. gzip and zstd compression is always detected. Default `"auto"`, one of auto, text, jsonl, json, csv, tsv, parquet. */
  format: 'auto' | 'text' | 'jsonl' | 'json' | 'csv' | 'tsv' | 'parquet';
  /** lf: convert Windows line endings (CRLF) to LF, with a notice. keep: leave the text unchanged. Default `"lf"`, one of lf, keep. */
  lineEndings: 'lf' | 'keep';
  /** Folders of tokens written by `launch prepare`, relative to the working folder, or prefixes with their files in an object store, s3://BUCKET/PREFIX. They replace `text` and are read as needed; several folders are mixed. They bring their own tokenizer and splits. If `tokenizer` is set, it must be the one they were made with. Default `[]`, a folder, or a list of folders. */
  shards: string | string[];
  /** Maximum size in GiB of the local cache for `shards` in an object store, in ~/.cache/lockstep (or XDG_CACHE_HOME). Choose it larger than the data, which is then fetched once; otherwise each sample is fetched as it is needed. Default `16`, a whole number from 1 to 1000000. */
  cacheGiB: number;
  /** Relative share of each folder of `shards` in the samples: [3, 1] takes three from the first for each one from the second. Empty: in proportion to their tokens. Default `[]`, a list of numbers above 0. */
  weights: number[];
  /** random: draw windows at random, with replacement. shuffled: use every window once per epoch, with a new order and offset each time. Both depend only on the seed and the step. Rows of `examples` are always shuffled. Default `"random"`, one of random, shuffled. */
  sampler: 'random' | 'shuffled';
  /** Fraction to hold out for validation: of the characters, from the end of the text; or of the rows of `examples`, which the seed chooses. 0 needs `validation`, or eval.everySteps: 0. Default `0.1`, a number from 0 to 0.9. */
  valFraction: number;
  /** Text to validate on, in any form that `text` accepts, or a folder that `launch prepare` made with the same tokenizer (all of it is used). Training then uses all of `text`, or the training splits of `shards`. With `examples`: rows of the same form, or two aligned text files; all rows of `examples` train. Default `[]`, a path, folder or glob, or a list of them. */
  validation: string | string[];
}

/** What a row of `data.examples` contains, and what the run learns from it. */
export interface TaskKeys {
  /** lm: predict each next token, of text or of rows {text}. The other kinds need `data.examples`. sft: predict the answers of instructions and conversations, rows {instruction, input, output}, {messages}, {conversations} or {prompt, completion}. classify: predict the label of a text, rows {text, label}. seq2seq: write the target of a source, such as its translation, rows {source, target} or two text files with aligned lines; it needs model.architecture: encoderDecoder. dpo: prefer one of two answers to the other, rows {prompt, chosen, rejected}. reward: score answers, from the same rows as dpo. grpo and ppo: write answers to prompts and learn from their rewards, rows {prompt} or those of sft, whose answers a reward may compare with. Default `"lm"`, one of lm, sft, classify, seq2seq, dpo, reward, grpo, ppo. */
  kind: 'lm' | 'sft' | 'classify' | 'seq2seq' | 'dpo' | 'reward' | 'grpo' | 'ppo';
  /** Text form of a conversation for every kind but lm, classify and seq2seq: alpaca, chatml, plain, or the path of a chat template in Jinja. auto: the template that comes with the tokenizer of the weights (`model.from`), otherwise alpaca. Default `"auto"`, a string of 1 to 4096 characters. */
  template: string;
  /** What to do with rows of more than model.blockSize tokens. error: end before training, with their number and the longest. drop: leave them out, with a notice. truncatePrompt: remove tokens from the start of the prompt, never from the answer; for classify from the end of the text, for seq2seq from the end of the source. Rows of lm cannot be shortened. Default `"error"`, one of error, drop, truncatePrompt. */
  tooLong: 'error' | 'drop' | 'truncatePrompt';
  /** dpo and reward: what to do with pairs whose chosen and rejected answers are equal, which prefer neither. error: end before training, with their number and the first places. drop: leave them out, with a notice. Default `"error"`, one of error, drop. */
  equalPairs: 'error' | 'drop';
  /** Put several short rows into one sequence, so that less of a batch is padding. Rows in a sequence do not see each other. For lm and sft. Default `false`, true or false. */
  pack: boolean;
  /** dpo, grpo and ppo: how strongly the model is kept near the one it starts from. Higher values allow smaller changes. For grpo and ppo the weight of the divergence (KL) from that model, in units of reward per nat; 0 does not limit it. Default `0.1`, a number from 0 to 1000. */
  beta: number;
  /** grpo and ppo: where the reward of an answer comes from. match: 1 if the answer ended and equals the answer of its row, otherwise 0. contains: 1 if it contains the answer of its row. regex:PATTERN: 1 if the regular expression of JavaScript matches, as in `regex:^\d+$`. Otherwise a path: of a reward model (a run of task.kind reward), or of a module (.mjs, .js) whose default export returns the reward. Default `"match"`, a string of 1 to 4096 characters. */
  reward: string;
  /** grpo and ppo: time limit of a regular expression or a module (`task.reward`) for each answer, in milliseconds. The run ends when it is exceeded. Default `60000`, a whole number from 1 to 86400000. */
  rewardTimeoutMs: number;
  /** grpo and ppo: number of prompts per iteration. The model answers them at the start of the iteration, before its steps. Default `16`, a whole number from 1 to 65536. */
  prompts: number;
  /** grpo and ppo: answers to each prompt of an iteration. grpo compares them with each other, so it needs at least 2. Default `8`, a whole number from 1 to 1024. */
  group: number;
  /** grpo and ppo: how often the steps of an iteration use each answer. Default `1`, a whole number from 1 to 1024. */
  inner: number;
  /** grpo and ppo: maximum length of an answer in tokens. It is also cut off where prompt and answer fill model.blockSize. Default `64`, a whole number from 1 to 65536. */
  maxTokens: number;
  /** grpo and ppo: how far the probability of a token may move in an iteration: by a factor from 1 - clip to 1 + clip. Beyond these limits, nothing pushes it further. Default `0.2`, a number from 0.001 to 1000. */
  clip: number;
  /** Divide advantages by their standard deviation: grpo by that of the rewards in a group, ppo by that over the iteration. With grpo, false gives beta its theoretical meaning. Default `true`, true or false. */
  scaleAdvantages: boolean;
  /** grpo and ppo: end the run when the mean divergence (KL) of a token from the starting model exceeds this, in nats; 0 does not limit it. Default `0`, a number from 0 to 1000000. */
  klMax: number;
  /** ppo: discount of a reward for each token before it. Default `1`, a number from 0 to 1. */
  gamma: number;
  /** ppo: how much advantages rely on later rewards (1) or on predicted values (0). Default `0.95`, a number from 0 to 1. */
  gaeLambda: number;
  /** ppo: weight of the loss of predicted values. Default `0.1`, a number from 0 to 1000. */
  valueCoefficient: number;
  /** ppo: how far a predicted value may move in an iteration, in units of reward; 0 does not limit it. Default `0.2`, a number from 0 to 1000000. */
  valueClip: number;
}

/** The run. */
export interface TrainKeys {
  /** Number of optimizer steps. `epochs` above 0 replaces it. Default `2000`, a whole number from 1 to 2147483647. */
  maxSteps: number;
  /** Number of times that the run trains on each row of `data.examples`, exactly: the number of steps follows from it, and the last batch may have fewer rows. 0: `maxSteps` counts. Default `0`, a whole number from 0 to 1000000. */
  epochs: number;
  /** Seed of initialisation, sample order and dropout. The same seed gives the same run. Default `1337`, a whole number from 0 to 4294967295. */
  seed: number;
  /** Sequences per optimizer step, over all workers. Default `12`, a whole number from 1 to 1048576. */
  globalBatchSize: number;
  /** Maximum number of sequences that one worker processes at once, which bounds its memory; must divide globalBatchSize. Default `12`, a whole number from 1 to 65536. */
  microBatchSize: number;
  /** none: keep all activations for the backward pass. block: keep only the input of each block and recompute the rest, which needs less memory and gives the same result. Default `"none"`, one of none, block. */
  activationRecompute: 'none' | 'block';
  /** equal: every worker gets the same number of sequences per step. proportional: faster workers get more, so that a slow one does not hold up the step. The split then depends on timing, and losses are the same up to rounding. Default `"equal"`, one of equal, proportional. */
  batchSplit: 'equal' | 'proportional';
  /** Combined peak of all workers in TFLOP/s, the denominator of `mfu` in metrics.jsonl. 0 uses the peak that workers measure when they start (native engine). Default `0`, a number from 0 to 1000000000. */
  peakTflops: number;
  /** Parameters to train. all: every parameter, or with LoRA (`model.loraRank`) only its factors and a head for labels. lora: only its factors. head: the output projection, unless it is also the token embedding. lastBlocks:N, such as lastBlocks:1: the last N blocks, the final layer norm and that head. Otherwise a pattern of names, or a list of these, such as `[transformer.h.3.*, transformer.ln_f.*]`, in which * matches any characters. A pattern that begins with * needs quotes, as in `["*.attn.*"]`. The other parameters are frozen: they keep their initial values and have no gradients or moments. Default `"all"`, all, lora, head, lastBlocks:N, or a pattern of parameter names, or a list of them. */
  trainable: string | string[];
  /** Worker processes to start on this machine. Default `1`, a whole number from 1 to 1024. */
  workers: number;
  /** Steps between parameter-hash checks across workers; 0 disables them. Default `50`, a whole number from 0 to 2147483647. */
  hashEverySteps: number;
  /** Steps between printed lines; metrics.jsonl records every step. Default `10`, a whole number from 1 to 2147483647. */
  logEverySteps: number;
}

/** The optimizer: AdamW, or Muon for the weight matrices inside of blocks. */
export interface OptimizerKeys {
  /** adamw updates every parameter. muon updates the weight matrices inside of blocks by Muon, and all others by AdamW. It often reaches a lower loss in the same number of steps, and needs 4 bytes less per element of these matrices, but each step takes longer. Learning rate and weight decay apply to both. A resumed run keeps its kind. Default `"adamw"`, one of adamw, muon. */
  kind: 'adamw' | 'muon';
  /** Decay rate of Muon's average of gradients; `kind: adamw` ignores it. Default `0.95`, a number from 0 to 0.9999999. */
  momentum: number;
  /** Decay rate of the first moment. Default `0.9`, a number from 0 to 0.9999999. */
  beta1: number;
  /** Decay rate of the second moment. Default `0.95`, a number from 0 to 0.9999999. */
  beta2: number;
  /** Epsilon, which keeps the division finite. Default `1e-8`, a number from 1e-12 to 1. */
  eps: number;
  /** Decoupled weight decay, on matrices only (not on biases and layer norms). Default `0.1`, a number from 0 to 10. */
  weightDecay: number;
  /** Maximum global norm of the gradient; 0 disables clipping. Default `1`, a number from 0 to 1000000. */
  gradClip: number;
  /** Decay of an exponential moving average of the weights, such as 0.999, which spans about the last 1/(1 - ema) steps. The average is what validation measures, what a checkpoint holds as its model, and so what `launch generate`, `eval`, `export` and the best model use; training continues with the weights themselves. It needs 4 more bytes per trained parameter. 0 keeps none. Default `0`, a number from 0 to 0.9999999. */
  ema: number;
}

/** The learning rate over the run. */
export interface ScheduleKeys {
  /** Shape of the learning rate after warm-up. cosine, linear: it falls to minLearningRate at decaySteps. constant: it stays. wsd (warm-up, stable, decay): it stays, and falls linearly in the last cooldownSteps. inverseSqrt: it falls with the square root of the step, as in Vaswani et al. sweep, which finds a learning rate: it rises exponentially from minLearningRate to learningRate, and the run ends with a plot and a suggestion. Default `"cosine"`, one of cosine, linear, constant, wsd, inverseSqrt, sweep. */
  kind: 'cosine' | 'linear' | 'constant' | 'wsd' | 'inverseSqrt' | 'sweep';
  /** Peak learning rate. Default `0.001`, a number from 0 to 100. */
  learningRate: number;
  /** Learning rate at and after decaySteps (cosine, linear, wsd), or of the first step (sweep). Default `0.0001`, a number from 0 to 100. */
  minLearningRate: number;
  /** Steps over which the learning rate rises linearly from 0; unused by sweep. Default `100`, a whole number from 0 to 2147483647. */
  warmupSteps: number;
  /** Step at which the decay (cosine, linear, wsd) or the sweep ends; 0 means train.maxSteps. Default `0`, a whole number from 0 to 2147483647. */
  decaySteps: number;
  /** Steps of the decay that ends at decaySteps (wsd); 0 means a fifth of decaySteps. Default `0`, a whole number from 0 to 2147483647. */
  cooldownSteps: number;
}

/** Checkpoints: when they are written and how many are kept. */
export interface CheckpointKeys {
  /** Steps between checkpoints. One is always written at the end; 0 writes only that one. Default `500`, a whole number from 0 to 2147483647. */
  everySteps: number;
  /** Number of newest checkpoints to keep. The best by validation loss is kept as well. Default `3`, a whole number from 1 to 10000. */
  keep: number;
  /** Also write a checkpoint each time the validation loss reaches a new minimum. Default `false`, true or false. */
  best: boolean;
  /** Where checkpoints are written, for this run alone: an absolute folder, or s3://BUCKET/PREFIX in an object store. Empty: checkpoints/ in the run directory. A resumed run keeps it. Default `""`, an absolute folder or s3://BUCKET/PREFIX. */
  directory: string;
}

/** Validation during training. `launch eval` always uses the full split. */
export interface EvalKeys {
  /** Steps between estimates of the validation loss; 0 disables them. Default `250`, a whole number from 0 to 2147483647. */
  everySteps: number;
  /** Batches of microBatchSize sequences per estimate, spread over the validation split; 0 uses the full split. Default `20`, a whole number from 0 to 2147483647. */
  batches: number;
  /** Early stopping: end the run after this many consecutive estimates without a lower validation loss. Each new best model is saved, as with checkpoint.best. 0 trains to the last step. Default `0`, a whole number from 0 to 2147483647. */
  stopAfter: number;
}

/** The text printed when training ends. */
export interface SampleKeys {
  /** Prompt of the sample that is printed when training ends. Default `"\n"`, a string of 1 to 100000 characters. */
  prompt: string;
  /** Tokens to generate; 0 prints no sample. Default `200`, a whole number from 0 to 1000000. */
  maxTokens: number;
  /** Values below 1 favour likely tokens, values above 1 add variety; 0 always takes the most likely token. Default `0.8`, a number from 0 to 100. */
  temperature: number;
  /** Sample from the K most likely tokens; 0 uses all tokens. Default `200`, a whole number from 0 to 2147483647. */
  topK: number;
  /** Sample from the most likely tokens that together have this probability; 1 uses all tokens. Default `1`, a number from 0.0001 to 1. */
  topP: number;
}

/** The compute engine. */
export interface EngineKeys {
  /** webgpu: a GPU, by WebGPU. native: the C++ addon. tfjs: TensorFlow.js. auto: webgpu if this machine has a GPU (not only a software driver), otherwise native if it is available, otherwise tfjs on wasm. Default `"auto"`, one of auto, webgpu, native, tfjs. */
  name: 'auto' | 'webgpu' | 'native' | 'tfjs';
  /** Backend of the tfjs engine; auto selects wasm. Default `"auto"`, one of auto, tensorflow, wasm, cpu. */
  deviceKind: 'auto' | 'tensorflow' | 'wasm' | 'cpu';
  /** Index of the device that all workers use, for engines with several (`launch doctor` lists them). auto gives each worker on a machine its own, starting at 0; more workers than devices share them. Default `"auto"`, auto or a whole number from 0 to 1023. */
  device: 'auto' | number;
  /** Compute threads per worker. 0 divides the cores of a machine among its workers. Default `0`, a whole number from 0 to 256. */
  threads: number;
  /** bf16: run matrix products in bfloat16 with float32 sums, and keep activations in bfloat16; parameters, optimizer state and the residual stream stay in float32. Needs the native engine. Faster on CPUs with AMX, and on some with AVX-512 BF16 (see `launch doctor`). f16: round the factors of matrix products to float16, with float32 sums and a dynamic loss scale; everything else is float32. Needs the webgpu engine, and a GPU with `shader-f16`. Both apply to training and its validation: the sample at the end, `launch generate` and `launch eval` compute in float32. Default `"float32"`, one of float32, bf16, f16. */
  precision: 'float32' | 'bf16' | 'f16';
}

/** Messages between processes. */
export interface CommKeys {
  /** Maximum size of a gradient bucket, in bytes. Each bucket is sent as soon as its gradients are final. Above 16 ranks it grows with their number. Default `4194304`, a multiple of 4 from 4 to 1073741824. */
  bucketBytesMax: number;
  /** Size of one ring message, in bytes. Default `524288`, a multiple of 4 from 4 to 16777216. */
  chunkBytes: number;
  /** Time between the heartbeats of a worker, in milliseconds. Default `1000`, a whole number from 10 to 3600000. */
  heartbeatIntervalMs: number;
  /** Time without a sign of life after which a worker counts as dead, in milliseconds. Default `10000`, a whole number from 20 to 36000000. */
  heartbeatTimeoutMs: number;
  /** Time limit of a step, in milliseconds. A worker that exceeds it leaves the ring, and may return later. Default `600000`, a whole number from 100 to 360000000. */
  stepTimeoutMs: number;
  /** Time that a run waits for workers, at its start or after a loss, in milliseconds. Default `60000`, a whole number from 100 to 36000000. */
  joinTimeoutMs: number;
  /** Time that a worker keeps its state after losing its coordinator, in milliseconds. It tries to reconnect to it, or to the one that `launch --resume` starts. Default `60000`, a whole number from 0 to 36000000. */
  rejoinTimeoutMs: number;
}

/** A complete, valid config: with every key of every group. */
export interface Config {
  /** The network. */
  model: ModelKeys;
  /** The training data. */
  data: DataKeys;
  /** What a row of `data.examples` contains, and what the run learns from it. */
  task: TaskKeys;
  /** The run. */
  train: TrainKeys;
  /** The optimizer: AdamW, or Muon for the weight matrices inside of blocks. */
  optimizer: OptimizerKeys;
  /** The learning rate over the run. */
  schedule: ScheduleKeys;
  /** Checkpoints: when they are written and how many are kept. */
  checkpoint: CheckpointKeys;
  /** Validation during training. `launch eval` always uses the full split. */
  eval: EvalKeys;
  /** The text printed when training ends. */
  sample: SampleKeys;
  /** The compute engine. */
  engine: EngineKeys;
  /** Messages between processes. */
  comm: CommKeys;
}

/** A group of keys as a user writes it: every key is optional and has a default. */
export type KeysInput<Group> = { [Key in keyof Group]?: Group[Key] | undefined };

/** A config as a user writes it, in YAML or for `train`: every group and key is optional. */
export type ConfigInput = { [Group in keyof Config]?: KeysInput<Config[Group]> | undefined };
