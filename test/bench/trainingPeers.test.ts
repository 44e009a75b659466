import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runTrainingPeers, trainingTable } from '../../bench/training/trainingPeers.ts';
import { stepFlops } from '../../src/architecture/work.ts';
import { UserError } from '../../src/base/errors.ts';
import { tinyConfig } from '../parity/model/tinyModels.ts';
import { machine } from '../unit/bench/someMachine.ts';

const shape = {
  name: 'tiny',
  model: { ...tinyConfig, dropout: 0.1 },
  train: { globalBatchSize: 2, microBatchSize: 2, seed: 1, activationRecompute: 'none' as const },
  optimizer: { beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.1, gradClip: 1, ema: 0 },
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-test-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** A program that stands for Python with torch. */
async function program(name: string, body: string): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, `#!${process.execPath}\n${body}\n`);
  await chmod(file, 0o755);
  return file;
}

describe('runTrainingPeers', () => {
  it('trains the same sizes in each precision, eager and compiled, with the number of threads that is faster for the peer', async () => {
    const python = await program(
      'python',
      `const given = process.argv.slice(2).join(' ');
       const sizes = '--layers 2 --heads 2 --width 16 --block 8 --batch 2 --vocab 29 --dropout 0.1 --bias';
       const [, precision, compiled] = new RegExp(sizes + ' --precision (float32|bf16)( --compile)? --serve$').exec(given) ?? [];
       if (precision === undefined) throw given;
       const ms = (precision === 'bf16' ? 50 : 100) - (compiled ? 20 : 0);
       console.log('ready 9.9');
       require('node:readline').createInterface({ input: process.stdin })
         .on('line', (line) => console.log('ms ' + ms * Number(line.split(' ')[1])));`,
    );
    const options = {
      shapes: [shape],
      engine: 'native' as const,
      threads: 2,
      python,
      compiled: true,
      secondsPerShape: 0,
      precisions: ['float32', 'bf16'] as const,
    };
    const { results } = await runTrainingPeers(options);
    const [ours, half, eager, compiled, halfEager, halfCompiled] = results;
    expect(eager).toMatchObject({
      shape: 'tiny',
      name: 'PyTorch 9.9 float32',
      threads: 1,
      steps: 3,
      medianMs: 100,
      timesOthers: 0.8,
    });
    expect(eager!.tokensPerSecond).toBe(160);
    expect(eager!.gflops).toBeCloseTo(stepFlops(shape.model, 16) / 1e8, 12);
    expect(compiled).toMatchObject({ name: 'PyTorch 9.9 float32 compiled', medianMs: 80, timesOthers: 1 });
    expect(halfEager).toMatchObject({ name: 'PyTorch 9.9 bf16', medianMs: 50, timesOthers: 0.6 });
    expect(halfCompiled).toMatchObject({ name: 'PyTorch 9.9 bf16 compiled', medianMs: 30, timesOthers: 1 });
    expect(ours).toMatchObject({ name: 'Lockstep float32', threads: 2, steps: 3 });
    expect(ours!.timesFloat32).toBe(1);
    expect(half).toMatchObject({ name: 'Lockstep bf16', timesFloat32: ours!.medianMs / half!.medianMs });
    // Each against the fastest peer, and the limit, of its own precision.
    expect(ours!.timesOthers).toBeCloseTo(80 / ours!.medianMs, 9);
    expect(half!.timesOthers).toBeCloseTo(30 / half!.medianMs, 9);
    const limits = results.map(({ gflops, ofLimit }) => gflops / ofLimit);
    const [float32Limit, bf16Limit] = limits;
    const expected = [float32Limit, bf16Limit, float32Limit, float32Limit, bf16Limit, bf16Limit];
    expect(limits.map((limit, i) => limit / expected[i]!)).toEqual(expected.map(() => expect.closeTo(1, 9)));
    expect(bf16Limit).not.toBe(float32Limit);
  });

  it('says what to install where torch is missing, and what went wrong where it is not', async () => {
    const options = {
      shapes: [shape],
      engine: 'native' as const,
      threads: 1,
      compiled: true,
      secondsPerShape: 0,
      precisions: ['float32', 'bf16'] as const,
    };
    const without = await program('without', `console.error("No module named 'torch'"); process.exit(1);`);
    const missing = runTrainingPeers({ ...options, python: without });
    await expect(missing).rejects.toThrow(UserError);
    await expect(missing).rejects.toThrow('pip install torch');
    const broken = await program('broken', `console.error('no memory'); process.exit(1);`);
    await expect(runTrainingPeers({ ...options, python: broken })).rejects.toThrow(
      'PyTorch ended with exit code 1: no memory',
    );
  });
});

describe('trainingTable', () => {
  it('has a row for each contender', () => {
    const table = trainingTable({ ...machine, readGBs: 12.34 }, ['tiny']);
    const result = {
      shape: 'tiny',
      precision: 'float32' as const,
      threads: 2,
      steps: 5,
      minMs: 9,
      tokensPerSecond: 1000,
      gflops: 50,
    };
    expect(table.heading).toContain('bf16 limit 200 GFLOP/s, reads 12.3 GB/s\n');
    const rows = table.rows([
      { ...result, name: 'Lockstep float32', medianMs: 10, ofLimit: 0.5, timesOthers: 3, timesFloat32: 1 },
      { ...result, name: 'PyTorch 2.13.0 float32', threads: 1, medianMs: 30, ofLimit: 0.2, timesOthers: 1 },
    ]);
    expect(rows.replaceAll(/ +/g, ' ').split('\n')).toEqual([
      'tiny Lockstep float32 2 5 10.0 9.0 1000 50.0 50 % 3.00 1.00',
      'tiny PyTorch 2.13.0 float32 1 5 30.0 9.0 1000 50.0 20 % 1.00',
      '',
    ]);
  });
});
