/** What `launch bench engine` prints for people: a heading, then a row for each kernel as soon as it is timed. */
import type { BenchResult, EngineBenchHead } from './engineBench.ts';
import { renderMachine } from './machine.ts';
import { type Column, fixed, numberColumn, percent, tableHeading, tableRow, textColumn } from './table.ts';

export function engineTable(head: EngineBenchHead): { heading: string; row(result: BenchResult): string } {
  const columns = columnsOf(head);
  const peers = head.peers.map(({ name, version }) => `${name} ${version}`);
  const notes = [...(peers.length > 0 ? [`beside ${peers.join(', ')}`] : []), ...head.missingPeers];
  return {
    heading: `${renderMachine(head.machine)}${notes.map((note) => `${note}\n`).join('')}\n${tableHeading(columns)}\n`,
    row: ({ name, shape, medianUs, minUs, gflops, ofLimit, gbytes, peers }) => {
      const others = head.peers.flatMap((peer) => {
        const theirs = peers[peer.name];
        return [fixed(theirs?.gflops, 1), fixed(theirs?.ratio, 2)];
      });
      const ours = [fixed(medianUs, 0), fixed(minUs, 0), fixed(gflops, 1), percent(ofLimit), fixed(gbytes, 1)];
      return `${tableRow(columns, [name, shape, ...ours, ...others])}\n`;
    },
  };
}

function columnsOf({ cases, peers }: EngineBenchHead): Column[] {
  return [
    textColumn(
      'kernel',
      cases.map(({ name }) => name),
    ),
    textColumn(
      'shape',
      cases.map(({ shape }) => shape),
    ),
    numberColumn('median µs', 9),
    numberColumn('min µs', 8),
    numberColumn('GFLOP/s'),
    numberColumn('of limit'),
    numberColumn('GB/s', 5),
    ...peers.flatMap(({ name }) => [numberColumn(name, 7), numberColumn('ratio')]),
  ];
}
