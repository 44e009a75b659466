import { describe, expect, it } from 'vitest';
import { engineTable } from '../../bench/engine/command.ts';
import { runEngineBench } from '../../bench/engine/engineBench.ts';
import { kernelCases } from '../../bench/engine/kernelCases.ts';
import { linearCases } from '../../bench/engine/productCases.ts';
import { UserError } from '../../src/base/errors.ts';
import { machine } from '../unit/bench/someMachine.ts';

describe('linearCases', () => {
  const products = (weightTransposed: boolean) =>
    linearCases({ n: 10, ic: 3, oc: 5, weightTransposed }).map(({ name, flops, product: p }) => [
      name,
      flops,
      ...(p ? [p.m, p.k, p.n, p.accumulate] : []),
    ]);

  it('are the three products of a layer in each precision, and its complete backward pass', () => {
    expect(products(false)).toEqual([
      ['linearForward NN', 300, 10, 3, 5, false],
      ['linearBackward dinp NT', 300, 10, 5, 3, false],
      ['linearBackward dweight TN', 300, 3, 10, 5, true],
      ['linearBackward', 600],
      ['linearForward NN bf16', 300, 10, 3, 5, false],
      ['linearBackward dinp NT bf16', 300, 10, 5, 3, false],
      ['linearBackward dweight TN bf16', 300, 3, 10, 5, true],
      ['linearForward NN f16', 300],
      ['linearBackward dinp NT f16', 300],
      ['linearBackward dweight TN f16', 300],
    ]);
  });

  it('are the same with the weight of a tied head, which lies transposed', () => {
    expect(products(true)).toEqual([
      ['linearForward NT', 300, 10, 3, 5, false],
      ['linearBackward dinp NN', 300, 10, 5, 3, false],
      ['linearBackward dweight TN', 300, 5, 10, 3, true],
      ['linearBackward', 600],
      ['linearForward NT bf16', 300, 10, 3, 5, false],
      ['linearBackward dinp NN bf16', 300, 10, 5, 3, false],
      ['linearBackward dweight TN bf16', 300, 5, 10, 3, true],
      ['linearForward NT f16', 300],
      ['linearBackward dinp NN f16', 300],
      ['linearBackward dweight TN f16', 300],
    ]);
  });
});

describe('kernelCases', () => {
  it('count the causal half of attention', () => {
    const attention = kernelCases().filter(({ shape }) => shape === 'B=1 T=1024 NH=12 HS=64');
    const product = 1024 * 1024 * 768;
    // Plain, with dropout, and both on bfloat16 tensors.
    const flops = [2 * product, 5 * product];
    expect(attention.map((kernel) => kernel.flops)).toEqual([...flops, ...flops, ...flops, ...flops]);
  });

  it('differ in name or shape', () => {
    const names = kernelCases().map(({ name, shape }) => `${name} ${shape}`);
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('runEngineBench', () => {
  it('times what matches, and reports each result as soon as it is known', async () => {
    const told: string[] = [];
    const report = await runEngineBench(
      { engine: { name: 'native', threads: 1 }, peers: false, only: /(Forward|Backward).* 768×128×65$/ },
      {
        started: ({ cases }) => told.push(`${cases.length} cases`),
        measured: ({ name }) => told.push(name),
      },
    );
    expect(told).toEqual(['7 cases', ...report.results.map(({ name }) => name)]);
    for (const { name, medianUs, minUs, gflops, ofLimit, peers } of report.results) {
      expect(minUs > 0 && medianUs >= minUs && gflops! > 0).toBe(true);
      const { fmaGflops, bf16Gflops } = report.machine;
      expect(ofLimit).toBeCloseTo(gflops! / (name.endsWith('bf16') ? bf16Gflops! : fmaGflops), 9);
      expect(peers).toEqual({});
    }
  });

  it('has all that attention needs, forward and backward', async () => {
    const report = await runEngineBench({ engine: { name: 'native' }, peers: false, only: /attention.* B=12 T=64 / });
    expect(report.results.map(({ name }) => name)).toHaveLength(8);
  });

  it('says which kernels there are if none matches', async () => {
    const run = runEngineBench({ engine: { name: 'native', threads: 1 }, peers: false, only: /nothing/ });
    await expect(run).rejects.toThrow(UserError);
    await expect(run).rejects.toThrow('no kernel and shape matches /nothing/; the kernels are linearForward NN, ');
  });
});

describe('engineTable', () => {
  it('has two columns for each library, empty where it has no such product', () => {
    const cases = [
      { name: 'linearForward NN', shape: '768×128×384' },
      { name: 'add', shape: '5' },
    ];
    const peers = [
      { name: 'oneDNN' as const, version: '2.6.3' },
      { name: 'OpenBLAS' as const, version: '0.3' },
    ];
    const table = engineTable({ machine, peers, missingPeers: ['a note'], cases });
    const times = { medianUs: 100, minUs: 90 };
    const lines = [
      ...table.heading.split('\n').slice(2),
      table.row({
        ...cases[0]!,
        ...times,
        gflops: 50,
        ofLimit: 0.5,
        peers: { oneDNN: { medianUs: 200, minUs: 200, gflops: 25, ratio: 2 } },
      }),
      table.row({ ...cases[1]!, ...times, gbytes: 12, peers: {} }),
    ];
    expect(lines).toEqual([
      'beside oneDNN 2.6.3, OpenBLAS 0.3',
      'a note',
      '',
      'kernel            shape        median µs    min µs  GFLOP/s  of limit   GB/s   oneDNN  ratio  OpenBLAS  ratio',
      '',
      'linearForward NN  768×128×384        100        90     50.0      50 %            25.0   2.00\n',
      'add               5                  100        90                      12.0\n',
    ]);
  });
});
