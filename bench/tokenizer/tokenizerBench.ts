/**
 * Times tokenizers beside other libraries in one run: training a vocabulary, and encoding on one thread with GPT-2's vocabulary and
 * with the trained one. All take the same parts of the same text, in turns; what they make of it is compared.
 */
import { availableParallelism, cpus } from 'node:os';
import { median } from '../../src/base/statistics.ts';
import { fixed, numberColumn, tableHeading, tableRow, textColumn } from '../../src/bench/table.ts';
import { withTemporaryFolder } from '../../src/bench/temporaryFolder.ts';
import { createTokenizer } from '../../src/data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../../src/data/tokenizers/tokenizer.ts';
import { byteLength, mixedText } from './mixedText.ts';
import {
  type Encoder,
  gptTokenizerEncoder,
  huggingFaceEncoder,
  ourEncoder,
  ourTrainer,
  PythonPeer,
  type Trainer,
} from './tokenizerPeers.ts';

export interface TokenizerBenchOptions {
  readonly text: string;
  /** How the report calls it. */
  readonly name: string;
  /** 10^6 bytes to train on, made of paragraphs of the text. */
  readonly trainMBytes: number;
  readonly encodeMBytes: number;
  readonly vocabSize: number;
  /** How often each is timed. */
  readonly runs: number;
  /** A Python with Hugging Face's tokenizers, to compare with. */
  readonly python?: string | undefined;
}

export interface TrainingResult {
  readonly by: string;
  readonly medianSeconds: number;
  readonly minSeconds: number;
  readonly mbytesPerSecond: number;
  /** How many times as fast ours is, by the medians. */
  readonly oursTimesAsFast: number;
  /** Whether its merges are ours. */
  readonly sameMerges: boolean;
}

export interface EncodingResult {
  /** `gpt2`, or the trained one. */
  readonly tokenizer: string;
  readonly by: string;
  /** 10^6 bytes of UTF-8 a second, on one thread: the median over the runs, and the best. */
  readonly mbytesPerSecond: number;
  readonly bestMBytesPerSecond: number;
  readonly oursTimesAsFast: number;
  /** Whether its tokens of the first part are ours. */
  readonly sameTokens: boolean;
}

export interface TokenizerBenchReport extends Omit<TokenizerBenchOptions, 'text' | 'python'> {
  readonly cpu: string;
  readonly cores: number;
  readonly node: string;
  readonly training: readonly TrainingResult[];
  readonly encoding: readonly EncodingResult[];
}

/** @param onProgress told what is being timed, with the share of all that is done */
export async function runTokenizerBench(
  { text, python, ...options }: TokenizerBenchOptions,
  onProgress: (done: number) => void = () => undefined,
): Promise<TokenizerBenchReport> {
  const { trainMBytes, encodeMBytes, vocabSize, runs } = options;
  return await withTemporaryFolder('lockstep-tokenizers-', async (folder) => {
    const peer = python === undefined ? undefined : await PythonPeer.open(python, folder);
    try {
      const corpus = mixedText(text, trainMBytes * 1e6);
      const trainers = [ourTrainer(corpus), ...(peer === undefined ? [] : [peer.trainer(corpus)])];
      const training = await timeTraining(trainers, { vocabSize, runs, bytes: byteLength(corpus) }, (done) =>
        onProgress(done / 2),
      );
      const parts = mixedText(text, encodeMBytes * 1e6);
      const groups = [await createTokenizer('gpt2', ''), await createTokenizer(`bpe:${vocabSize}`, corpus)];
      const encoding: EncodingResult[] = [];
      for (const [index, tokenizer] of groups.entries()) {
        const encoders = await encodersOf(tokenizer, peer);
        const progress = (done: number) => onProgress(0.5 + (index + done) / (2 * groups.length));
        encoding.push(...(await timeEncoding(tokenizer.kind, encoders, { parts, runs }, progress)));
      }
      const cpu = cpus()[0]?.model ?? 'unknown';
      return { ...options, cpu, cores: availableParallelism(), node: process.versions.node, training, encoding };
    } finally {
      peer?.close();
    }
  });
}

async function encodersOf(tokenizer: Tokenizer, peer: PythonPeer | undefined): Promise<Encoder[]> {
  return [
    ourEncoder(tokenizer),
    ...(tokenizer.kind === 'gpt2' ? [await gptTokenizerEncoder()] : []),
    huggingFaceEncoder(tokenizer),
    ...(peer === undefined ? [] : [peer.encoder(tokenizer)]),
  ];
}

async function timeTraining(
  trainers: readonly Trainer[],
  { vocabSize, runs, bytes }: { vocabSize: number; runs: number; bytes: number },
  onProgress: (done: number) => void,
): Promise<TrainingResult[]> {
  const times = trainers.map((): number[] => []);
  const merges = trainers.map(() => '');
  for (let run = 0; run < runs; run++) {
    for (const [index, trainer] of trainers.entries()) {
      const { ms, mergesSha256 } = await trainer.train(vocabSize);
      times[index]!.push(ms / 1000);
      merges[index] = mergesSha256;
      onProgress((run * trainers.length + index + 1) / (runs * trainers.length));
    }
  }
  const ours = median(times[0]!);
  return trainers.map(({ by }, index) => {
    const seconds = times[index]!;
    return {
      by,
      medianSeconds: median(seconds),
      minSeconds: Math.min(...seconds),
      mbytesPerSecond: bytes / 1e6 / median(seconds),
      oursTimesAsFast: median(seconds) / ours,
      sameMerges: merges[index] === merges[0],
    };
  });
}

async function timeEncoding(
  tokenizer: string,
  encoders: readonly Encoder[],
  { parts, runs }: { parts: readonly string[]; runs: number },
  onProgress: (done: number) => void,
): Promise<EncodingResult[]> {
  const first = parts.slice(0, 1);
  const hashes: string[] = [];
  // It warms them up as well.
  for (const encoder of encoders) hashes.push(await encoder.hashOf(first));
  const rates = encoders.map((): number[] => []);
  for (let run = 0; run < runs; run++) {
    for (const [index, encoder] of encoders.entries()) {
      const { ms, bytes } = await encoder.encode(parts);
      rates[index]!.push(bytes / 1000 / ms);
      onProgress((run * encoders.length + index + 1) / (runs * encoders.length));
    }
  }
  const ours = median(rates[0]!);
  return encoders.map(({ by }, index) => ({
    tokenizer,
    by,
    mbytesPerSecond: median(rates[index]!),
    bestMBytesPerSecond: Math.max(...rates[index]!),
    oursTimesAsFast: ours / median(rates[index]!),
    sameTokens: hashes[index] === hashes[0],
  }));
}

/** For people. */
export function renderTokenizers(report: TokenizerBenchReport): string {
  const { cpu, cores, node, name, trainMBytes, encodeMBytes, vocabSize, runs, training, encoding } = report;
  const names = [...training, ...encoding].map(({ by }) => by);
  const trained = [
    textColumn('training', names),
    numberColumn('median s', 8),
    numberColumn('min s', 8),
    numberColumn('MB/s', 7),
    numberColumn('ours is times as fast'),
    textColumn('same merges', []),
  ];
  const encoded = [
    textColumn(
      'encoding',
      encoding.map(({ tokenizer }) => tokenizer),
    ),
    textColumn('by', names),
    numberColumn('median MB/s'),
    numberColumn('best MB/s'),
    numberColumn('ours is times as fast'),
    textColumn('same tokens', []),
  ];
  return [
    `${cpu}, ${cores} cores, Node ${node}; ${runs} runs in turns`,
    `paragraphs of ${name}: ${trainMBytes} MB to train bpe:${vocabSize} on, ${encodeMBytes} MB to encode, one thread`,
    '',
    tableHeading(trained),
    ...training.map((result) =>
      tableRow(trained, [
        result.by,
        fixed(result.medianSeconds, 2),
        fixed(result.minSeconds, 2),
        fixed(result.mbytesPerSecond, 1),
        fixed(result.oursTimesAsFast, 2),
        yesNo(result.sameMerges),
      ]),
    ),
    '',
    tableHeading(encoded),
    ...encoding.map((result) =>
      tableRow(encoded, [
        result.tokenizer,
        result.by,
        fixed(result.mbytesPerSecond, 2),
        fixed(result.bestMBytesPerSecond, 2),
        fixed(result.oursTimesAsFast, 2),
        yesNo(result.sameTokens),
      ]),
    ),
    '',
  ].join('\n');
}

function yesNo(value: boolean): string {
  return value ? 'yes' : 'NO';
}
