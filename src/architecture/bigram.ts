/**
 * The bigram model: a table of logits in which the row of a token predicts the next token. It is the smallest language model; trained to
 * the end, it equals counting pairs of tokens. As in "makemore" (Karpathy, https://github.com/karpathy/makemore).
 *
 * B batch, T time, V vocabulary.
 */
import { z } from 'zod';
import { whole } from '../base/keyTypes.ts';
import { type Architecture, architectureDoc, type Network } from './architecture.ts';
import type { Declarations } from './parameters.ts';

const keys = z.strictObject({
  architecture: z.literal('bigram').meta({ description: architectureDoc }),
  blockSize: whole({
    default: 64,
    min: 1,
    max: 65_536,
    doc: 'Tokens per sequence; each is predicted from the one before.',
  }),
  vocabSize: whole({
    default: 0,
    max: 2 ** 16,
    doc: 'Rows and columns of the table; 0 uses the tokenizer size.',
  }),
});

type BigramConfig = Readonly<z.output<typeof keys>>;

export const bigram = {
  name: 'bigram',
  doc: 'A table of logits in which each token predicts the next.',
  keys,
  trainingKeys: [],
  addedKeys: [],
  rules: [],
  network: table,
  /** Only looks up a row; nothing is multiplied. */
  tokenWork: ({ vocabSize: V }) => ({ parametersRead: V, activations: 2 * V }),
  summary: ({ vocabSize: V }) => `a table of ${V} x ${V}`,
} satisfies Architecture<BigramConfig>;

function table({ vocabSize: V }: BigramConfig, declare: Declarations): Network {
  const logits = declare.parameter('table.weight', [V, V], { constant: 0 });

  return { forward: (ops, tokens) => ops.embedding(tokens, logits) }; // (B, T, V)
}
