/** Small tokenizers in Hugging Face's format, as other programs write them. */

const special = (id: number, content: string) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true };
const letters = [
  ...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?\'"()[]{}<>/|-_=+*`#@&$%~^\\\n',
];

/** As T5 and others have it: SentencePiece's Unigram, whose vocabulary has the special tokens among its pieces. */
export const unigramFiles: Readonly<Record<string, string>> = {
  'tokenizer.json': JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [special(0, '<pad>'), special(1, '</s>'), special(2, '<unk>')],
    normalizer: null,
    pre_tokenizer: metaspace,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: '</s>', type_id: 0 } }],
      pair: [],
      special_tokens: { '</s>': { id: '</s>', ids: [1], tokens: ['</s>'] } },
    },
    decoder: metaspace,
    model: {
      type: 'Unigram',
      unk_id: 2,
      vocab: [
        ['<pad>', 0],
        ['</s>', 0],
        ['<unk>', 0],
        ['▁', -2],
        ...['▁the', '▁of', 'ing', 'er', 'tion', '▁a', 're', 'in'].map((piece, i) => [piece, -3 - i / 10]),
        ...letters.map((letter, i) => [letter, -6 - i / 100]),
      ],
    },
  }),
  'tokenizer_config.json': JSON.stringify({ eos_token: '</s>', tokenizer_class: 'T5Tokenizer' }),
};

/** As Llama 2 has it: SentencePiece's BPE, with a token for each byte of what the vocabulary lacks. */
export const byteFallbackFiles: Readonly<Record<string, string>> = {
  'tokenizer.json': JSON.stringify({
    version: '1.0',
    added_tokens: [special(0, '<unk>'), special(1, '<s>'), special(2, '</s>')],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(
        [
          '<unk>',
          '<s>',
          '</s>',
          ...Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
          '▁',
          't',
          'h',
          'e',
          'a',
          'th',
          'the',
          '▁the',
          '<',
          's',
          '>',
        ].map((token, id) => [token, id]),
      ),
      merges: ['t h', 'th e', '▁ the'],
    },
  }),
};
