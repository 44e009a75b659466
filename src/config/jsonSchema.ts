/**
 * The schema of a config file as JSON Schema, for editors that complete and check YAML. scripts/write-config-docs.mjs writes it to
 * configs/schema.json. It leaves out the rules between two keys (crossChecks.ts).
 */
import { z } from 'zod';
import { bpeSizeMin } from '../base/tokenizerKind.ts';
import { configSchema } from './schema.ts';

/** The tokenizer kinds as `parseTokenizerKind` reads them; that function checks the bounds of `bpe:N`. */
const tokenizerKind = {
  type: 'string',
  anyOf: [
    { enum: ['char', 'byte', 'gpt2', 'cl100k', 'o200k', 'bpe:8000'] },
    { pattern: '^bpe:\\d{3,7}$', description: `At least ${bpeSizeMin} tokens.` },
    { pattern: '[/\\\\]|\\.json$' },
  ],
} as const;

/** The text of configs/schema.json. Every key is optional; null is a group without keys. */
export function configJsonSchema(): string {
  const { $schema, ...schema } = z.toJSONSchema(configSchema, {
    io: 'input',
    // `data.tokenizer` is checked in code.
    unrepresentable: 'any',
    override({ jsonSchema, path }) {
      // For messages only: editors use the bounds themselves.
      delete jsonSchema['expects'];
      if (path.at(-1) === 'tokenizer') Object.assign(jsonSchema, tokenizerKind);
    },
  });
  const title = 'A training run of Lockstep';
  return `${JSON.stringify({ $schema, title, ...schema }, null, 2)}\n`;
}
