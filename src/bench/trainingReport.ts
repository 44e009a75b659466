/** What `launch bench peers` prints for people: a heading, then the rows of each shape as soon as they are there. */
import { type Machine, renderMachine } from './machine.ts';
import { fixed, numberColumn, percent, tableHeading, tableRow, textColumn } from './table.ts';
import type { TrainingResult } from './trainingPeers.ts';

export function trainingTable(
  machine: Machine,
  shapes: readonly string[],
): { heading: string; rows(results: readonly TrainingResult[]): string } {
  const columns = [
    textColumn('shape', shapes),
    textColumn('what', ['PyTorch 1.13.0a0+cpu']),
    numberColumn('threads'),
    numberColumn('steps'),
    numberColumn('median ms', 9),
    numberColumn('min ms', 9),
    numberColumn('tokens/s'),
    numberColumn('GFLOP/s'),
    numberColumn('of limit'),
    numberColumn('times PyTorch'),
    numberColumn('times float32'),
  ];
  const row = (result: TrainingResult): string =>
    tableRow(columns, [
      result.shape,
      result.name,
      String(result.threads),
      String(result.steps),
      fixed(result.medianMs, 1),
      fixed(result.minMs, 1),
      fixed(result.tokensPerSecond, 0),
      fixed(result.gflops, 1),
      percent(result.ofLimit),
      fixed(result.timesPyTorch, 2),
      fixed(result.timesFloat32, 2),
    ]);
  return {
    heading: `${renderMachine(machine)}\n${tableHeading(columns)}\n`,
    rows: (results) => results.map((result) => `${row(result)}\n`).join(''),
  };
}
