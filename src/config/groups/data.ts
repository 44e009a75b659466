/** The group `data` of a config: the training data. */
import { z } from 'zod';
import { choice, path, pathMax, pathsMax, real, string, whole } from '../../base/keyTypes.ts';
import { expectedTokenizer, isTokenizerKind, type TokenizerKind } from '../../base/tokenizerKind.ts';

export const data = z
  .strictObject({
    text: z
      .union([path, z.array(path).min(1).max(pathsMax)])
      .default('builtin')
      .meta({
        description:
          'Text to train on: a file, a folder, a glob, or a list of these, relative to the working folder. `builtin` is Tiny Shakespeare, which comes with the package.',
        expects: 'builtin, or a path, folder or glob, or a list of them',
      }),
    examples: z
      .union([path, z.array(path).max(pathsMax)])
      .default([])
      .meta({
        description:
          'Rows to train on instead of text: files, folders or globs of JSON Lines, JSON, CSV, TSV or Parquet, also compressed, relative to the working folder. `task.kind` says what a row contains. Each row is one sample. All rows are in memory. With `task.kind: seq2seq`, they may also be two text files with aligned lines, the sources first: [train.en, train.es]. `builtin` is a small set that comes with the package, for every kind but lm.',
        expects: 'a path, folder or glob, or a list of them',
      }),
    columns: z.array(z.string().min(1).max(1000)).max(1000).default([]).meta({
      description:
        'Names of the columns of the CSV and TSV files of `examples` and their `validation`, if these have no header row: [label, text]. Empty: the first row of each table names its columns. A first row with all of these names also counts as a header. With =, it selects columns or keys of rows in any format and renames them: [label=v1, text=v2].',
      expects: 'a list of column names',
    }),
    tokenizer: z
      .custom<TokenizerKind>((value) => typeof value === 'string' && value.length <= pathMax && isTokenizerKind(value))
      .default('char')
      .meta({
        description:
          "char: one token per distinct character of the text. byte: one token per byte. gpt2, cl100k, o200k: the published byte-pair encodings, with 50257, 100277 and 200019 tokens. bpe:N, such as bpe:8000: a byte-pair encoding of N tokens, trained on the text. A value with a slash, or one that ends in .json, is the path of a tokenizer.json in Hugging Face's format (BPE or Unigram), or of its folder, relative to the working folder or at s3://BUCKET/PATH.",
        expects: expectedTokenizer,
      }),
    field: string({
      default: 'text',
      max: 1000,
      doc: 'Name of the JSON key or table column that holds the text, where files of `text` and `validation` are JSON or tables.',
    }),
    format: choice(['auto', 'text', 'jsonl', 'json', 'csv', 'tsv', 'parquet'], {
      default: 'auto',
      doc: 'Format of the files of `text`, `examples` and `validation`. auto: detect it from name and content. jsonl: one JSON object per line. json: an array of objects or strings. csv, tsv: a table whose first row names the columns. gzip and zstd compression is always detected.',
    }),
    lineEndings: choice(['lf', 'keep'], {
      default: 'lf',
      doc: 'lf: convert Windows line endings (CRLF) to LF, with a notice. keep: leave the text unchanged.',
    }),
    shards: z
      .union([path, z.array(path).max(pathsMax)])
      .default([])
      .meta({
        description:
          'Folders of tokens written by `launch prepare`, relative to the working folder, or prefixes with their files in an object store, s3://BUCKET/PREFIX. They replace `text` and are read as needed; several folders are mixed. They bring their own tokenizer and splits. If `tokenizer` is set, it must be the one they were made with.',
        expects: 'a folder, or a list of folders',
      }),
    cacheGiB: whole({
      default: 16,
      min: 1,
      max: 1_000_000,
      doc: 'Maximum size in GiB of the local cache for `shards` in an object store, in ~/.cache/lockstep (or XDG_CACHE_HOME). Choose it larger than the data, which is then fetched once; otherwise each sample is fetched as it is needed.',
    }),
    weights: z.array(z.number().min(0.000001).max(1e9)).max(pathsMax).default([]).meta({
      description:
        'Relative share of each folder of `shards` in the samples: [3, 1] takes three from the first for each one from the second. Empty: in proportion to their tokens.',
      expects: 'a list of numbers above 0',
    }),
    sampler: choice(['random', 'shuffled'], {
      default: 'random',
      doc: 'random: draw windows at random, with replacement. shuffled: use every window once per epoch, with a new order and offset each time. Both depend only on the seed and the step. Rows of `examples` are always shuffled.',
    }),
    valFraction: real({
      default: 0.1,
      min: 0,
      max: 0.9,
      doc: 'Fraction to hold out for validation: of the characters, from the end of the text; or of the rows of `examples`, which the seed chooses. 0 needs `validation`, or eval.everySteps: 0.',
    }),
    validation: z
      .union([path, z.array(path).max(pathsMax)])
      .default([])
      .meta({
        description:
          'Text to validate on, in any form that `text` accepts, or a folder that `launch prepare` made with the same tokenizer (all of it is used). Training then uses all of `text`, or the training splits of `shards`. With `examples`: rows of the same form, or two aligned text files; all rows of `examples` train.',
        expects: 'a path, folder or glob, or a list of them',
      }),
  })
  .meta({ description: 'The training data.' });
