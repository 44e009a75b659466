/** What the process takes of the machine's memory, and keeps. A file, and so a process, of its own: nothing else comes and goes. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import type { EngineMemory } from '../../../src/engine/device.ts';
import { createNativeEngine, type NativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import type { ActivationRecompute } from '../../../src/model/computing.ts';
import { memoryPerWorker } from '../../../src/model/memoryPlan.ts';
import { Trainer } from '../../../src/model/training.ts';
import { dropoutSource, randomBatch, tinyConfig } from './tinyModels.ts';

const MIB = 2 ** 20;
const adamw = { learningRate: 1e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, gradClip: 1 };

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Without garbage; what the first collection found, the next has given back. */
function residentBytes(): number {
  for (let i = 0; i < 3; i++) collectGarbage();
  return process.memoryUsage.rss();
}

/** Kept to the end, so that none gives memory back while another is measured. */
const engines: NativeEngine[] = [];
afterAll(async () => {
  await Promise.all(engines.map((engine) => engine.dispose()));
});

function trainerOf(config: Gpt2Config, activationRecompute: ActivationRecompute): Trainer {
  const engine = createNativeEngine({ threads: 1 });
  engines.push(engine);
  return new Trainer(engine, config, { seed: 1, activationRecompute });
}

async function step(trainer: Trainer, batchSize: number, index: number): Promise<void> {
  const batch = randomBatch(trainer.model.config, { seed: 1, batchSize });
  await trainer.microStep({ ...batch, lossScale: 1, dropout: dropoutSource() });
  await trainer.applyAdamw({ ...adamw, step: index });
}

/** What the process takes once, for code and its compilers, is nobody's estimate. */
beforeAll(async () => {
  const trainer = trainerOf({ ...tinyConfig, vocabSize: 65, nHead: 4, nEmbd: 128, blockSize: 64 }, 'none');
  for (let index = 1; index <= 20; index++) await step(trainer, 4, index);
  await trainer.evaluate(randomBatch(trainer.model.config, { seed: 2, batchSize: 4 }));
});

it.each(['none', 'block'] as const)(
  'a step, its update and an evaluation take what is estimated, to 10 %: activationRecompute %s',
  async (activationRecompute) => {
    const config = { ...tinyConfig, vocabSize: 5000, nLayer: 6, nHead: 4, nEmbd: 256, blockSize: 256 };
    const before = residentBytes();
    const trainer = trainerOf(config, activationRecompute);
    await step(trainer, 4, 1);
    await trainer.evaluate(randomBatch(config, { seed: 2, batchSize: 4 }));
    const { total } = memoryPerWorker(config, { microBatchSize: 4, activationRecompute });
    const taken = residentBytes() - before;
    expect(Math.abs(taken / total - 1), `${taken} taken, ${total} estimated`).toBeLessThan(0.1);
  },
);

it('hundreds of steps take no more than some', async () => {
  const config = { ...tinyConfig, vocabSize: 65, nHead: 4, nEmbd: 128, blockSize: 64, dropout: 0.1 };
  const trainer = trainerOf(config, 'none');
  const held: { engine: EngineMemory; resident: number; heap: number }[] = [];
  for (let index = 1; index <= 400; index++) {
    await step(trainer, 4, index);
    if (index % 100 !== 0) continue;
    const resident = residentBytes();
    held.push({ engine: trainer.engine.memory(), resident, heap: process.memoryUsage().heapUsed });
  }
  for (const { engine } of held) expect(engine).toEqual(held[0]!.engine);
  const [first, last] = [held[0]!, held.at(-1)!];
  expect(last.heap - first.heap, 'bytes of objects that 300 steps added').toBeLessThan(2 * MIB);
  // V8 may still be giving its young generation more room, 48 MiB at most.
  expect(last.resident - first.resident, 'bytes that 300 steps added').toBeLessThan(32 * MIB);
});
