/** What `launch bench tokenizer` prints for people. */
import { fixed, numberColumn, tableHeading, tableRow, textColumn } from './table.ts';
import type { TokenizerBenchReport } from './tokenizerBench.ts';

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
