/** The group `task` of a config: what a run learns from the rows of `data.examples`. */
import { z } from 'zod';
import { choice, flag, pathMax, real, string } from '../../base/keyTypes.ts';
import { taskKinds } from '../../task/kinds.ts';

export const task = z
  .strictObject({
    kind: choice(taskKinds, {
      default: 'lm',
      doc: 'lm: predict each next token, of text or of rows {text}. The other kinds need `data.examples`. sft: predict the answers of instructions and conversations, rows {instruction, input, output}, {messages}, {conversations} or {prompt, completion}. classify: predict the label of a text, rows {text, label}. dpo: prefer one of two answers to the other, rows {prompt, chosen, rejected}. reward: score answers, from the same rows as dpo.',
    }),
    template: string({
      default: 'auto',
      max: pathMax,
      doc: 'Text form of a conversation for sft, dpo and reward: alpaca, chatml, plain, or the path of a chat template in Jinja. auto: the template that comes with the tokenizer of the weights (`model.from`), otherwise alpaca.',
    }),
    tooLong: choice(['error', 'drop', 'truncatePrompt'], {
      default: 'error',
      doc: 'What to do with rows of more than model.blockSize tokens. error: end before training, with their number and the longest. drop: leave them out, with a notice. truncatePrompt: remove tokens from the start of the prompt, never from the answer; for classify from the end of the text. Rows of lm cannot be shortened.',
    }),
    pack: flag({
      default: false,
      doc: 'Put several short rows into one sequence, so that less of a batch is padding. Rows in a sequence do not see each other. For lm and sft.',
    }),
    beta: real({
      default: 0.1,
      min: 0.0001,
      max: 1000,
      doc: 'dpo: how strongly the model is kept near the one it starts from. Higher values allow smaller changes.',
    }),
  })
  .meta({ description: 'What a row of `data.examples` contains, and what the run learns from it.' });
