/** The blocks of the first Transformer against PyTorch's nn.TransformerEncoderLayer (makeTransformerFixtures.py). */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { TransformerConfig } from '../../../src/architecture/transformer.ts';
import { createEngine, type EngineOptions } from '../../../src/engine/registry.ts';
import { Trainer } from '../../../src/model/training.ts';
import { tokenBatch } from '../../../src/task/nextToken.ts';
import { tinyVaswani } from './tinyModels.ts';
import { expectClose, expectGradients, logitsOf, meanLoss, relative } from './trainers.ts';

interface Fixture {
  readonly config: Partial<TransformerConfig>;
  readonly tokens: readonly number[];
  readonly targets: readonly number[];
  readonly initial: Record<string, number[]>;
  readonly lossSum: number;
  readonly logits: readonly number[];
  readonly gradients: Record<string, number[]>;
}

const path = new URL('./fixtures/transformer.json', import.meta.url);
const fixture = JSON.parse(readFileSync(path, 'utf8')) as Fixture;
const engines: readonly EngineOptions[] = [
  { name: 'native', threads: 2 },
  { name: 'tfjs', deviceKind: 'cpu' },
];

describe.each(engines)('$name', (options) => {
  it('sinusoidal positions, norms after each branch and ReLU: logits, loss and every gradient', async () => {
    const engine = await createEngine(options);
    const config = { ...tinyVaswani, ...fixture.config };
    const trainer = new Trainer(engine, config, { seed: 1 });
    for (const [index, { name }] of trainer.parameters.specs.entries()) {
      const values = fixture.initial[name];
      // The table of positions is not trained: it has its values from the start.
      if (values !== undefined) trainer.parameters.writeTensor('params', index, Float32Array.from(values));
      else expect(name).toBe('model.embed_positions.weight');
    }
    const batch = tokenBatch(Int32Array.from(fixture.tokens), Int32Array.from(fixture.targets), config.blockSize);
    expectClose(await logitsOf(trainer, batch), Float32Array.from(fixture.logits), 'logits', 1e-5);
    expect(relative((await trainer.microStep(meanLoss(batch))).loss, fixture.lossSum)).toBeLessThan(1e-5);
    await expectGradients(
      trainer,
      new Map(Object.entries(fixture.gradients).map(([name, values]) => [name, Float32Array.from(values)])),
    );
    await engine.dispose();
  });
});
