/** Reference log probabilities: computed once, kept in the run directory, and never mixed up with those of another run. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { openCheckpoint } from '../../../src/checkpoint/openCheckpoint.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { dpo } from '../../../src/model/objectives/dpo.ts';
import { Trainer } from '../../../src/model/training.ts';
import { openReference, type ReferenceOptions } from '../../../src/run/reference.ts';
import { hashReference } from '../../../src/run/referenceFile.ts';
import { saveCheckpoint } from '../../../src/run/saveCheckpoint.ts';
import { collate, type Sample } from '../../../src/task/task.ts';
import { tinyConfig } from '../../parity/model/tinyModels.ts';
import { temporaryFolder } from '../checkpoint/tinyCheckpoint.ts';

const engine = { name: 'native', threads: 2 };
const config = configSchema.parse({ engine, train: { seed: 5, microBatchSize: 2, globalBatchSize: 2 } });

/** Pairs of several lengths: the prompt is masked. */
function pairOf(index: number): Sample {
  const side = (length: number, shift: number) => {
    const tokens = Int32Array.from({ length }, (_, t) => (index * 5 + t * 3 + shift) % tinyConfig.vocabSize);
    const targets = tokens.map((_, t) => (t < 2 ? -1 : (tokens[t + 1] ?? 0)));
    return [tokens, targets] as const;
  };
  const [[chosen, chosenTargets], [rejected, rejectedTargets]] = [side(4 + (index % 3), 1), side(8 - (index % 4), 2)];
  return { chosen, chosenTargets, rejected, rejectedTargets };
}
const pairs = { train: [0, 1, 2, 3, 4].map(pairOf), validation: [5, 6].map(pairOf) };

function newRun(changes: Partial<ReferenceOptions> = {}) {
  const notes: string[] = [];
  const options: ReferenceOptions = {
    path: join(temporaryFolder(), 'reference.safetensors'),
    config,
    pairs,
    start: { modelConfig: tinyConfig, checkpoint: undefined },
    trainedWith: undefined,
    messages: { note: (line) => notes.push(line), warn: (line) => notes.push(line), progress: () => () => undefined },
    ...changes,
  };
  return { options, notes };
}

/** Weights whose first parameter was changed. */
async function checkpointOf(change: (numbers: Float32Array) => void) {
  const trainer = new Trainer(await createEngine(engine), tinyConfig, { seed: 5 });
  const numbers = new Float32Array(trainer.parameters.specs[0]!.size);
  await trainer.parameters.readTensor('params', 0, numbers);
  change(numbers);
  trainer.parameters.writeTensor('params', 0, numbers);
  const dataset = { tokenizer: await createTokenizer('byte', ''), sha256: '0'.repeat(64) };
  const path = await saveCheckpoint(temporaryFolder(), trainer, { step: 0, dataset });
  await trainer.engine.dispose();
  return openCheckpoint(path);
}

describe('the reference of a run', () => {
  it('has the log probabilities that training begins with', async () => {
    const { options, notes } = newRun();
    const { train, validation } = await openReference(options);
    expect(notes).toEqual(['computing the reference log probabilities of 7 pairs']);
    const trainer = new Trainer(await createEngine(engine), tinyConfig, { seed: 5, objective: dpo({ beta: 0.3 }) });
    const fields = { chosen: 0, chosenTargets: -1, rejected: 0, rejectedTargets: -1 };
    const rules = Object.entries(fields).map(([name, padding]) => [name, { dtype: 'int32', padding }] as const);
    for (const [index, pair] of [...pairs.train, ...pairs.validation].entries()) {
      const values = [...train, ...validation].slice(2 * index, 2 * index + 2);
      const sample = { ...pair, reference: values };
      const all = { ...Object.fromEntries(rules), reference: { dtype: 'float32' as const, padding: 0, length: 2 } };
      const sums = await trainer.evaluate(collate(all, [sample], 8));
      expect(Math.abs(sums.loss - Math.LN2)).toBeLessThan(1e-6);
      expect(values[0]).toBeCloseTo(sums['chosenLogprob']!, 4);
      expect(values[1]).toBeCloseTo(sums['rejectedLogprob']!, 4);
    }
    await trainer.engine.dispose();
  });

  it('is computed once: a resumed run reads the same bits', async () => {
    const { options, notes } = newRun();
    const first = await openReference(options);
    notes.length = 0;
    const resumed = { ...options, start: undefined, trainedWith: hashReference(first) };
    expect(await openReference(resumed)).toEqual(first);
    expect(await openReference(options)).toEqual(first);
    expect(notes).toEqual([]);
  });

  it('has the same bits for any number of threads', async () => {
    const [one, two] = await Promise.all(
      [1, 2].map((threads) =>
        openReference(newRun({ config: { ...config, engine: { ...config.engine, threads } } }).options),
      ),
    );
    expect(one).toEqual(two);
  });

  it('of a resumed run does not need the weights of its start', async () => {
    const { options } = newRun();
    const start = { modelConfig: tinyConfig, checkpoint: await checkpointOf(() => undefined) };
    const first = await openReference({ ...options, start });
    rmSync(start.checkpoint.path, { recursive: true });
    expect(await openReference({ ...options, start, trainedWith: hashReference(first) })).toEqual(first);
    await expect(openReference({ ...options, start })).rejects.toThrow();
  });

  it('is refused for weights that are not finite, and nothing is written', async () => {
    const { options } = newRun();
    const checkpoint = await checkpointOf((numbers) => numbers.fill(Number.NaN));
    const start = { modelConfig: tinyConfig, checkpoint };
    await expect(openReference({ ...options, start })).rejects.toThrow(
      /^a log probability under the starting weights is NaN: the weights are damaged/,
    );
    expect(existsSync(options.path)).toBe(false);
  });

  it('is computed again if its file is lost, but only with the numbers that the run was trained with', async () => {
    const { options, notes } = newRun();
    const first = await openReference(options);
    rmSync(options.path);
    const trained = { ...options, trainedWith: hashReference(first) };
    expect(await openReference(trained)).toEqual(first);
    expect(notes).toHaveLength(2);

    rmSync(options.path);
    await refused(
      { ...trained, start: undefined },
      /is missing, and the run was trained with it; the weights of its start/,
    );
    const other = { ...config, train: { ...config.train, seed: 6 } };
    await refused({ ...trained, config: other }, /the weights at its start now give other numbers than/);
  });

  it.each<[string, (options: ReferenceOptions) => Promise<ReferenceOptions> | ReferenceOptions, RegExp]>([
    [
      'one changed byte',
      (options) => edited(options, (bytes) => bytes.writeUInt8(bytes.at(-2)! ^ 1, bytes.length - 2)),
      /is damaged: its numbers differ from their sha256/,
    ],
    [
      'its end cut off',
      (options) => edited(options, (bytes) => bytes.subarray(0, -8)),
      /is damaged: its tensors end at/,
    ],
    [
      'nothing in it',
      (options) => edited(options, (bytes) => bytes.subarray(0, 0)),
      /is damaged: a safetensors file has at least 8 bytes/,
    ],
    ['text in it', (options) => edited(options, () => Buffer.from('{"train": [1, 2, 3]}')), /is damaged/],
    [
      'other pairs',
      (options) => ({ ...options, pairs: { ...pairs, train: pairs.train.toReversed() } }),
      /of other pairs: restore the examples/,
    ],
    [
      'other numbers of pairs',
      (options) => ({ ...options, pairs: { ...pairs, train: pairs.train.slice(1) } }),
      /has 5 pairs for training, but the run has 4/,
    ],
    [
      'other weights',
      (options) => ({ ...options, config: { ...config, train: { ...config.train, seed: 6 } } }),
      /of other weights: remove it to compute it again/,
    ],
    [
      'the values of another run',
      (options) => ({ ...options, trainedWith: 'f'.repeat(64) }),
      /of another run: restore the file of this run/,
    ],
  ])('is refused with %s', async (_, change, message) => {
    const { options } = newRun();
    await openReference(options);
    await refused(await change(options), message);
  });
});

async function refused(options: ReferenceOptions, message: RegExp): Promise<void> {
  const opened = openReference(options);
  await expect(opened).rejects.toThrow(UserError);
  await expect(opened).rejects.toThrow(message);
  await expect(opened).rejects.toThrow(options.path);
}

function edited(options: ReferenceOptions, edit: (bytes: Buffer) => Buffer | unknown): ReferenceOptions {
  const bytes = readFileSync(options.path);
  const result = edit(bytes);
  writeFileSync(options.path, result instanceof Buffer ? result : bytes);
  return options;
}
