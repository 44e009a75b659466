/** What `launch bench step` prints for people, part by part. */
import type { KernelSummary } from './kernelSummary.ts';
import { renderMachine } from './machine.ts';
import type { StepBenchHead, StepBenchReport, StepBenchResult } from './stepBench.ts';
import { fixed, numberColumn, percent, tableHeading, tableRow, textColumn } from './table.ts';

export function renderHead({
  machine,
  engine,
  precision,
  shape,
  parameters,
  tokensPerStep,
  steps,
}: StepBenchHead): string {
  return (
    (machine === undefined ? '' : renderMachine(machine)) +
    `${engine}, ${precision}: ${shape}, ${(parameters / 1e6).toFixed(2)} M parameters, ${tokensPerStep} tokens a step, ${steps} steps\n`
  );
}

export function renderPhases(results: readonly StepBenchResult[]): string {
  const has = (key: 'ofBf16Limit' | 'ofF16Limit') => results.some((result) => result[key] !== undefined);
  const [bf16, f16] = [has('ofBf16Limit'), has('ofF16Limit')];
  const columns = [
    textColumn('phase', ['optimizer']),
    numberColumn('median ms'),
    numberColumn('min ms', 9),
    numberColumn('GFLOP/s'),
    numberColumn('of limit'),
    ...(bf16 ? [numberColumn('of bf16 limit')] : []),
    ...(f16 ? [numberColumn('of f16 limit')] : []),
    numberColumn('tokens/s'),
  ];
  const rows = results.map(({ name, medianMs, minMs, gflops, ofLimit, ofBf16Limit, ofF16Limit, tokensPerSecond }) =>
    tableRow(columns, [
      name,
      fixed(medianMs, 2),
      fixed(minMs, 2),
      fixed(gflops, 1),
      percent(ofLimit),
      ...(bf16 ? [percent(ofBf16Limit)] : []),
      ...(f16 ? [percent(ofF16Limit)] : []),
      fixed(tokensPerSecond, 0),
    ]),
  );
  return `\n${[tableHeading(columns), ...rows].join('\n')}\n`;
}

/** The kernels and what is between them, so that the shares add up to the step. */
export function renderKernels({ clock, stepMs, kernels, betweenMs }: KernelSummary): string {
  const byShape = kernels.some(({ shape }) => shape !== undefined);
  const between = 'between kernels';
  const columns = [
    textColumn('kernel', [between, ...kernels.map(({ name }) => name)]),
    ...(byShape
      ? [
          textColumn(
            'shape',
            kernels.map(({ shape }) => shape ?? ''),
          ),
        ]
      : []),
    numberColumn('calls'),
    numberColumn('ms a step'),
    numberColumn('min ms', 9),
    numberColumn('share'),
    numberColumn('GFLOP/s'),
    numberColumn('of limit'),
    numberColumn('GB/s', 6),
  ];
  const shapeCell = (shape = ''): string[] => (byShape ? [shape] : []);
  const rows = [
    ...kernels.map(({ name, shape, calls, msPerStep, minMsPerStep, share, gflops, ofLimit, gbytes }) => [
      name,
      ...shapeCell(shape),
      String(calls),
      fixed(msPerStep, 3),
      fixed(minMsPerStep, 3),
      percent(share),
      fixed(gflops, 1),
      percent(ofLimit),
      fixed(gbytes, 1),
    ]),
    [between, ...shapeCell(), '', fixed(betweenMs, 3), '', percent(betweenMs / stepMs)],
    ['step', ...shapeCell(), '', fixed(stepMs, 3), '', percent(1)],
  ];
  const source = clock === 'device' ? "by the device's clock" : "by the host's clock, from call to end";
  return `\nkernels ${source}\n${[tableHeading(columns), ...rows.map((row) => tableRow(columns, row))].join('\n')}\n`;
}

export function renderMemory({ peakResidentBytes, peakTensorBytes, formula }: StepBenchReport): string {
  const gib = (bytes: number): string => (bytes / 2 ** 30).toFixed(2);
  return `\npeak memory ${gib(peakResidentBytes)} GiB resident, ${gib(peakTensorBytes)} GiB in tensors\nFLOPs of a step: ${formula}\n`;
}
