/** What `launch bench engine` gives: as an object for programs, as a table for people. */
import { type Machine, renderMachine } from './machine.ts';

export interface BenchResult {
  /** The kernel, as the engine interface calls it. */
  readonly name: string;
  readonly shape: string;
  /** Microseconds of one call: the median over the samples, and the smallest. */
  readonly medianUs: number;
  readonly minUs: number;
  /** 10^9 floating-point operations a second, by the median time; absent for kernels that only move memory. */
  readonly gflops?: number;
  /** `gflops` over the machine's `fmaGflops`, from 0 to 1. */
  readonly ofLimit?: number;
  /** 10^9 bytes a second read and written, by the median time. */
  readonly gbytes?: number;
}

export interface BenchReport {
  readonly machine: Machine;
  readonly results: readonly BenchResult[];
}

/** A table as wide as its cells; the first two columns are left-aligned. */
export function renderReport({ machine, results }: BenchReport): string {
  const rows = [
    ['kernel', 'shape', 'median µs', 'min µs', 'GFLOP/s', 'of limit', 'GB/s'],
    ...results.map((result) => [
      result.name,
      result.shape,
      result.medianUs.toFixed(0),
      result.minUs.toFixed(0),
      result.gflops?.toFixed(1) ?? '',
      result.ofLimit === undefined ? '' : `${(100 * result.ofLimit).toFixed(0)} %`,
      result.gbytes?.toFixed(1) ?? '',
    ]),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => (column < 2 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
  return [renderMachine(machine), ...lines, ''].join('\n');
}
