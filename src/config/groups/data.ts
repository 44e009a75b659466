/** The group `data` of a config: what is learned from. */
import { z } from 'zod';
import { choice, path, pathMax, pathsMax, real, string } from '../../base/keyTypes.ts';
import { expectedTokenizer, isTokenizerKind, type TokenizerKind } from '../../base/tokenizerKind.ts';

export const data = z
  .strictObject({
    text: z
      .union([path, z.array(path).min(1).max(pathsMax)])
      .default('builtin')
      .meta({
        description:
          'Text to train on: a file, a folder, a glob, or a list of them, relative to the working folder; `builtin` is the text that comes with the package, Tiny Shakespeare.',
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
    field: string({
      default: 'text',
      max: 1000,
      doc: 'Where files of `text` and `validation` are JSON or tables: the key of an object, or the name of a column, that has the text.',
    }),
    format: choice(['auto', 'text', 'jsonl', 'json', 'csv', 'tsv', 'parquet'], {
      default: 'auto',
      doc: 'What the files of `text` and `validation` are. auto: as their names and content say. jsonl: a JSON object in each line; json: an array of objects; csv, tsv: a table whose first row names the columns. gzip and zstd are always recognised.',
    }),
    lineEndings: choice(['lf', 'keep'], {
      default: 'lf',
      doc: 'lf: the line ends of Windows, CRLF, become LF, and a notice says so. keep: the text stays as it is.',
    }),
    shards: z
      .union([path, z.array(path).max(pathsMax)])
      .default([])
      .meta({
        description:
          'Folders of tokens that `launch prepare` made, relative to the working folder: they are read from the disk as they are needed, and take the place of `text`. Several are a mixture. Tokenizer and splits are their own; a `tokenizer` that is set must be the one they were made with.',
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
      min: 0,
      max: 0.9,
      doc: 'Share of the characters, at the end of the text, that is held out for validation. 0 needs `validation`, or eval.everySteps: 0.',
    }),
    validation: z
      .union([path, z.array(path).max(pathsMax)])
      .default([])
      .meta({
        description:
          'Text to validate with, as `text`, or a folder that `launch prepare` made with the same tokenizer, which validates as a whole. Then all of `text` trains, and of `shards` what their splits have to train on.',
        expects: 'a path, folder or glob, or a list of them',
      }),
  })
  .meta({ description: 'What it learns from.' });
