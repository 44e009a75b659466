/** The group `task` of a config: what a run learns from the rows of `data.examples`. */
import { z } from 'zod';
import { choice, flag, pathMax, real, string, whole } from '../../base/keyTypes.ts';
import { taskKinds } from '../../task/kinds.ts';

export const task = z
  .strictObject({
    kind: choice(taskKinds, {
      default: 'lm',
      doc: 'lm: predict each next token, of text or of rows {text}. The other kinds need `data.examples`. sft: predict the answers of instructions and conversations, rows {instruction, input, output}, {messages}, {conversations} or {prompt, completion}. classify: predict the label of a text, rows {text, label}. seq2seq: write the target of a source, such as its translation, rows {source, target} or two text files with aligned lines; it needs model.architecture: encoderDecoder. dpo: prefer one of two answers to the other, rows {prompt, chosen, rejected}. reward: score answers, from the same rows as dpo. grpo and ppo: write answers to prompts and learn from their rewards, rows {prompt} or those of sft, whose answers a reward may compare with.',
    }),
    template: string({
      default: 'auto',
      max: pathMax,
      doc: 'Text form of a conversation for every kind but lm, classify and seq2seq: alpaca, chatml, plain, or the path of a chat template in Jinja. auto: the template that comes with the tokenizer of the weights (`model.from`), otherwise alpaca.',
    }),
    tooLong: choice(['error', 'drop', 'truncatePrompt'], {
      default: 'error',
      doc: 'What to do with rows of more than model.blockSize tokens. error: end before training, with their number and the longest. drop: leave them out, with a notice. truncatePrompt: remove tokens from the start of the prompt, never from the answer; for classify from the end of the text, for seq2seq from the end of the source. Rows of lm cannot be shortened.',
    }),
    equalPairs: choice(['error', 'drop'], {
      default: 'error',
      doc: 'dpo and reward: what to do with pairs whose chosen and rejected answers are equal, which prefer neither. error: end before training, with their number and the first places. drop: leave them out, with a notice.',
    }),
    pack: flag({
      default: false,
      doc: 'Put several short rows into one sequence, so that less of a batch is padding. Rows in a sequence do not see each other. For lm and sft.',
    }),
    beta: real({
      default: 0.1,
      min: 0,
      max: 1000,
      doc: 'dpo, grpo and ppo: how strongly the model is kept near the one it starts from. Higher values allow smaller changes. For grpo and ppo the weight of the divergence (KL) from that model, in units of reward per nat; 0 does not limit it.',
    }),
    reward: string({
      default: 'match',
      max: pathMax,
      doc: 'grpo and ppo: where the reward of an answer comes from. match: 1 if the answer ended and equals the answer of its row, otherwise 0. contains: 1 if it contains the answer of its row. regex:PATTERN: 1 if the regular expression of JavaScript matches, as in `regex:^\\d+$`. Otherwise a path: of a reward model (a run of task.kind reward), or of a module (.mjs, .js) whose default export returns the reward.',
    }),
    rewardTimeoutMs: whole({
      default: 60_000,
      min: 1,
      max: 86_400_000,
      doc: 'grpo and ppo: time limit of a regular expression or a module (`task.reward`) for each answer, in milliseconds. The run ends when it is exceeded.',
    }),
    prompts: whole({
      default: 16,
      min: 1,
      max: 65_536,
      doc: 'grpo and ppo: number of prompts per iteration. The model answers them at the start of the iteration, before its steps.',
    }),
    group: whole({
      default: 8,
      min: 1,
      max: 1024,
      doc: 'grpo and ppo: answers to each prompt of an iteration. grpo compares them with each other, so it needs at least 2.',
    }),
    inner: whole({
      default: 1,
      min: 1,
      max: 1024,
      doc: 'grpo and ppo: how often the steps of an iteration use each answer.',
    }),
    maxTokens: whole({
      default: 64,
      min: 1,
      max: 65_536,
      doc: 'grpo and ppo: maximum length of an answer in tokens. It is also cut off where prompt and answer fill model.blockSize.',
    }),
    clip: real({
      default: 0.2,
      min: 0.001,
      max: 1000,
      doc: 'grpo and ppo: how far the probability of a token may move in an iteration: by a factor from 1 - clip to 1 + clip. Beyond these limits, nothing pushes it further.',
    }),
    scaleAdvantages: flag({
      default: true,
      doc: 'Divide advantages by their standard deviation: grpo by that of the rewards in a group, ppo by that over the iteration. With grpo, false gives beta its theoretical meaning.',
    }),
    klMax: real({
      default: 0,
      min: 0,
      max: 1e6,
      doc: 'grpo and ppo: end the run when the mean divergence (KL) of a token from the starting model exceeds this, in nats; 0 does not limit it.',
    }),
    gamma: real({
      default: 1,
      min: 0,
      max: 1,
      doc: 'ppo: discount of a reward for each token before it.',
    }),
    gaeLambda: real({
      default: 0.95,
      min: 0,
      max: 1,
      doc: 'ppo: how much advantages rely on later rewards (1) or on predicted values (0).',
    }),
    valueCoefficient: real({
      default: 0.1,
      min: 0,
      max: 1000,
      doc: 'ppo: weight of the loss of predicted values.',
    }),
    valueClip: real({
      default: 0.2,
      min: 0,
      max: 1e6,
      doc: 'ppo: how far a predicted value may move in an iteration, in units of reward; 0 does not limit it.',
    }),
  })
  .meta({ description: 'What a row of `data.examples` contains, and what the run learns from it.' });
