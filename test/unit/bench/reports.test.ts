import { describe, expect, it } from 'vitest';
import { summariseKernels } from '../../../src/bench/kernelSummary.ts';
import type { KernelCall } from '../../../src/bench/kernelTimer.ts';
import { renderMachine } from '../../../src/bench/machine.ts';
import { renderHead, renderKernels, renderPhases } from '../../../src/bench/stepReport.ts';
import { numberColumn, tableHeading, tableRow, textColumn } from '../../../src/bench/table.ts';
import { machine } from './someMachine.ts';

function product(shape: string, ms: number): KernelCall {
  return { kernel: 'linearForward', shape, ms, flops: 60e6, bytes: 1 };
}

function add(ms: number): KernelCall {
  return { kernel: 'add', shape: '5', ms, bytes: 3e6 };
}

describe('summariseKernels', () => {
  const steps = [
    { calls: [product('a', 1), product('b', 1), add(1)], wallMs: 4 },
    { calls: [product('a', 3), product('b', 1), add(0.5)], wallMs: 5 },
    { calls: [product('a', 9), product('b', 9), add(3)], wallMs: 30 },
  ];

  it('gives medians over the steps, rates by them, and what is between', () => {
    const summary = summariseKernels(steps, {
      machine: { fmaGflops: 60, bf16Gflops: 240 },
      byShape: false,
      clock: 'host',
    });
    expect(summary).toEqual({
      clock: 'host',
      stepMs: 5,
      kernels: [
        { name: 'linearForward', calls: 2, msPerStep: 4, minMsPerStep: 2, share: 0.8, gflops: 30, ofLimit: 0.5 },
        { name: 'add', calls: 1, msPerStep: 1, minMsPerStep: 0.5, share: 0.2, gbytes: 3 },
      ],
      betweenMs: 1,
    });
  });

  it('tells kernels of other precisions apart, which have limits of their own', () => {
    const calls = (['float32', 'bf16', 'f16'] as const).map((precision) => ({ ...product('a', 1), precision }));
    const { kernels } = summariseKernels([{ calls, wallMs: 2 }], {
      machine: { fmaGflops: 60, bf16Gflops: 240, f16Gflops: 120 },
      byShape: false,
      clock: 'host',
    });
    expect(kernels.map(({ name, ofLimit }) => [name, ofLimit])).toEqual([
      ['linearForward', 1],
      ['linearForward bf16', 0.25],
      ['linearForward f16', 0.5],
    ]);
  });

  it('tells shapes apart, and leaves out the limit where there is none', () => {
    const { kernels } = summariseKernels(steps, { machine: undefined, byShape: true, clock: 'device' });
    expect(kernels.map(({ name, shape }) => `${name} ${shape}`)).toEqual([
      'linearForward a',
      'linearForward b',
      'add 5',
    ]);
    expect(kernels[0]).toMatchObject({ gflops: 20 });
    expect(kernels[0]).not.toHaveProperty('ofLimit');
  });
});

describe('reports', () => {
  it('keep columns below their headings, whatever is printed first', () => {
    const columns = [textColumn('name', ['a', 'longer']), numberColumn('ms', 5)];
    expect(tableHeading(columns)).toBe('name       ms');
    expect(tableRow(columns, ['a', '1.25'])).toBe('a        1.25');
    expect(tableRow(columns, ['longer'])).toBe('longer');
  });

  it('say what was measured on', () => {
    expect(renderMachine({ ...machine, commit: 'abc1234+' })).toBe(
      'Some CPU, 2 cores, 8 GiB, linux x64, Node.js 20.19.0, Lockstep 0.1.0 at abc1234+\navx2, 1 thread, FMA limit 100 GFLOP/s, bf16 limit 200 GFLOP/s\n',
    );
    expect(renderMachine({ ...machine, f16Gflops: 400 })).toContain(
      ', bf16 limit 200 GFLOP/s, f16 limit 400 GFLOP/s\n',
    );
    const head = {
      machine: undefined,
      engine: 'tfjs (cpu)',
      precision: 'float32' as const,
      shape: 'B 1',
      parameters: 5e5,
      tokensPerStep: 8,
      steps: 3,
    };
    expect(renderHead(head)).toBe('tfjs (cpu), float32: B 1, 0.50 M parameters, 8 tokens a step, 3 steps\n');
  });

  it('show a step by phase', () => {
    const shape = 'B 1';
    const text = renderPhases([
      { name: 'step', shape, medianMs: 12.345, minMs: 10, gflops: 50.04, ofLimit: 0.5, tokensPerSecond: 1234.5 },
      { name: 'optimizer', shape, medianMs: 2, minMs: 1.5 },
    ]);
    expect(text).toBe(
      [
        '',
        'phase      median ms     min ms  GFLOP/s  of limit  tokens/s',
        'step           12.35      10.00     50.0      50 %      1235',
        'optimizer       2.00       1.50',
        '',
      ].join('\n'),
    );
  });

  it('show both limits of a step in bf16', () => {
    const step = { name: 'step' as const, shape: 'B 1', medianMs: 10, minMs: 10, gflops: 200, tokensPerSecond: 1 };
    const [, heading, row] = renderPhases([{ ...step, ofLimit: 2, ofBf16Limit: 0.25 }]).split('\n');
    expect(heading).toMatch(/of limit {2}of bf16 limit {2}tokens\/s$/);
    expect(row).toMatch(/ 200 % +25 % +1$/);
  });

  it('show a step by kernel, whose shares add up', () => {
    const kernel = { name: 'add', calls: 3, msPerStep: 1.5, minMsPerStep: 1, share: 0.75, gbytes: 12 };
    const lines = [
      '',
      "kernels by the host's clock, from call to end",
      'kernel           calls  ms a step     min ms  share  GFLOP/s  of limit    GB/s',
      'add                  3      1.500      1.000   75 %                       12.0',
      'between kernels             0.500             25 %',
      'step                        2.000            100 %',
      '',
    ];
    const rendered = renderKernels({ clock: 'host', stepMs: 2, kernels: [kernel], betweenMs: 0.5 });
    expect(rendered.split('\n').map((line) => line.replaceAll(/ +/g, ' '))).toEqual(
      lines.map((line) => line.replaceAll(/ +/g, ' ')),
    );
    const shaped = renderKernels({
      clock: 'device',
      stepMs: 2,
      kernels: [{ ...kernel, shape: '2×3' }],
      betweenMs: 0.5,
    });
    expect(shaped).toContain('2×3');
    expect(shaped).toContain("kernels by the device's clock\n");
  });
});
