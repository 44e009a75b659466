/** What `launch bench generate` prints for people. */
import type { GenerateBenchReport } from './generateBench.ts';
import { renderMachine } from './machine.ts';
import { fixed, numberColumn, percent, tableHeading, tableRow } from './table.ts';

export function renderGeneration(report: GenerateBenchReport): string {
  const { machine, engine, parameters, tokens, runs, weightBytes, results } = report;
  const columns = [
    numberColumn('prompt tokens'),
    numberColumn('ms', 8),
    numberColumn('tokens/s', 9),
    numberColumn('then ms a token'),
    numberColumn('min ms', 7),
    numberColumn('tokens/s', 9),
    numberColumn('reads GB/s'),
    numberColumn('of limit'),
  ];
  const rows = results.map((result) =>
    tableRow(columns, [
      String(result.promptTokens),
      fixed(result.promptMs, 1),
      fixed(result.promptTokensPerSecond, 0),
      fixed(result.medianMs, 2),
      fixed(result.minMs, 2),
      fixed(result.tokensPerSecond, 1),
      fixed(result.readGBs, 1),
      percent(result.ofLimit),
    ]),
  );
  return [
    ...(machine === undefined ? [] : [renderMachine(machine).trimEnd()]),
    `${engine}: ${(parameters / 1e6).toFixed(2)} M parameters, ${tokens} tokens after the first, ${runs} runs`,
    `${(weightBytes / 1e6).toFixed(1)} MB of weights; the limit of a token is the time to read them`,
    '',
    tableHeading(columns),
    ...rows,
    '',
  ].join('\n');
}
