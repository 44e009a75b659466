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
  optimizer: { beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.1, gradClip: 1 },
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
  it('trains the same sizes, with the number of threads that is faster for the peer', async () => {
    const python = await program(
      'python',
      `const given = process.argv.slice(2).join(' ');
       if (!given.endsWith('--layers 2 --heads 2 --width 16 --block 8 --batch 2 --vocab 29 --dropout 0.1 --bias --serve')) throw given;
       console.log('ready 9.9');
       require('node:readline').createInterface({ input: process.stdin })
         .on('line', (line) => console.log('ms ' + 100 * Number(line.split(' ')[1])));`,
    );
    const options = {
      shapes: [shape],
      threads: 2,
      python,
      secondsPerShape: 0,
      precisions: ['float32', 'bf16'] as const,
    };
    const { results } = await runTrainingPeers(options);
    const [ours, half, theirs] = results;
    expect(theirs).toMatchObject({
      shape: 'tiny',
      name: 'PyTorch 9.9',
      threads: 1,
      steps: 3,
      medianMs: 100,
      timesPyTorch: 1,
    });
    expect(theirs!.tokensPerSecond).toBe(160);
    expect(theirs!.gflops).toBeCloseTo(stepFlops(shape.model, 16) / 1e8, 12);
    expect(ours).toMatchObject({ name: 'Lockstep float32', threads: 2, steps: 3 });
    expect(ours!.timesFloat32).toBe(1);
    expect(half).toMatchObject({ name: 'Lockstep bf16', timesFloat32: ours!.medianMs / half!.medianMs });
    expect(ours!.timesPyTorch).toBeCloseTo(100 / ours!.medianMs, 9);
  });

  it('says what to install where torch is missing, and what went wrong where it is not', async () => {
    const options = { shapes: [shape], threads: 1, secondsPerShape: 0, precisions: ['float32', 'bf16'] as const };
    const without = await program('without', `console.error("No module named 'torch'"); process.exit(1);`);
    const missing = runTrainingPeers({ ...options, python: without });
    await expect(missing).rejects.toThrow(UserError);
    await expect(missing).rejects.toThrow('apt-get install python3-torch');
    const broken = await program('broken', `console.error('no memory'); process.exit(1);`);
    await expect(runTrainingPeers({ ...options, python: broken })).rejects.toThrow(
      'PyTorch ended with exit code 1: no memory',
    );
  });
});

describe('trainingTable', () => {
  it('has a row for each contender', () => {
    const table = trainingTable({ ...machine, readGBs: 12.34 }, ['tiny']);
    const result = { shape: 'tiny', threads: 2, steps: 5, minMs: 9, tokensPerSecond: 1000, gflops: 50 };
    expect(table.heading).toContain('bf16 limit 200 GFLOP/s, reads 12.3 GB/s\n');
    const rows = table.rows([
      { ...result, name: 'Lockstep float32', medianMs: 10, ofLimit: 0.5, timesPyTorch: 3, timesFloat32: 1 },
      { ...result, name: 'PyTorch 1.13.0', threads: 1, medianMs: 30, ofLimit: 0.2, timesPyTorch: 1 },
    ]);
    expect(rows.replaceAll(/ +/g, ' ').split('\n')).toEqual([
      'tiny Lockstep float32 2 5 10.0 9.0 1000 50.0 50 % 3.00 1.00',
      'tiny PyTorch 1.13.0 1 5 30.0 9.0 1000 50.0 20 % 1.00',
      '',
    ]);
  });
});
