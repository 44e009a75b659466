/**
 * Trains `bpe:N`, a byte-level byte-pair encoding of the user's text: GPT-2's splitting, then N - 257 times the most frequent pair of
 * tokens becomes a token. Ids: the 256 bytes in the order of GPT-2's vocabulary, the merges in their order, `<|endoftext|>` last.
 */
import { partsOf, type TextSource } from '../textSource.ts';
import { byteCharacters } from './byteLevelFiles.ts';
import { ByteLevelTokenizer } from './byteLevelTokenizer.ts';
import { MergeTrainer } from './mergeTrainer.ts';
import { WordCounts } from './wordCounts.ts';

/** Progress of training a tokenizer. */
export interface TrainingProgress {
  /** The current activity. */
  readonly phase: 'counting words' | 'merging';
  /** UTF-16 units counted, or merges found. */
  readonly done: number;
  /** Number of requested merges. Absent while counting, because a source's length is unknown. */
  readonly total?: number;
}

const endOfText = '<|endoftext|>';
/** About a tenth of a second each. */
const mergesPerSlice = 64;

/**
 * A tokenizer of `vocabSize` tokens, or fewer if the text has no more pairs. Deterministic: it depends only on the text and on where
 * the text is cut. Memory is bounded for a source of any length ({@link WordCounts}).
 */
export async function trainTokenizer(
  source: TextSource,
  vocabSize: number,
  onProgress: (progress: TrainingProgress) => void = () => undefined,
): Promise<ByteLevelTokenizer> {
  const words = new WordCounts();
  let counted = 0;
  for await (const part of partsOf(source)) {
    for (const units of words.addSteps(part)) {
      onProgress({ phase: 'counting words', done: counted + units });
      await othersRun();
    }
    counted += part.length;
  }

  const bytes = bytesInOrder();
  const byteTokens = new Uint32Array(256);
  for (const [id, byte] of bytes.entries()) byteTokens[byte] = id;
  const total = vocabSize - bytes.length - 1;
  const trainer = new MergeTrainer(words, byteTokens);
  const tokens: Uint8Array[] = bytes.map((byte) => Uint8Array.of(byte));
  const merges: [number, number, number][] = [];
  while (merges.length < total) {
    const pair = trainer.next();
    if (pair === undefined) break;
    const [left, right] = pair;
    merges.push([left, right, tokens.length]);
    tokens.push(joined(tokens[left]!, tokens[right]!));
    if (merges.length % mergesPerSlice === 0) {
      onProgress({ phase: 'merging', done: merges.length, total });
      await othersRun();
    }
  }
  const end = tokens.length;
  return new ByteLevelTokenizer(`bpe:${vocabSize}`, {
    splitting: 'gpt2',
    tokens,
    merges,
    specialTokens: new Map([[endOfText, end]]),
    endOfText: end,
  });
}

/** `byte`: the ids of the 256 bytes are their values, and `<|endoftext|>` is 256. */
export function byteTokenizer(): ByteLevelTokenizer {
  return new ByteLevelTokenizer('byte', {
    splitting: 'none',
    tokens: Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
    merges: [],
    specialTokens: new Map([[endOfText, 256]]),
    endOfText: 256,
  });
}

/** The bytes in the order of their characters in GPT-2's vocabulary. */
function bytesInOrder(): number[] {
  return [...byteCharacters.keys()].sort(
    (a, b) => byteCharacters[a]!.codePointAt(0)! - byteCharacters[b]!.codePointAt(0)!,
  );
}

function joined(left: Uint8Array, right: Uint8Array): Uint8Array {
  const both = new Uint8Array(left.length + right.length);
  both.set(left);
  both.set(right, left.length);
  return both;
}

function othersRun(): Promise<void> {
  return new Promise((resume) => setImmediate(resume));
}
