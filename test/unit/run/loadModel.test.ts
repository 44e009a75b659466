import { appendFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { openCheckpoint } from '../../../src/checkpoint/openCheckpoint.ts';
import { numberOption } from '../../../src/cli/options.ts';
import { openDataset } from '../../../src/data/openDataset.ts';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import { generate } from '../../../src/model/generate.ts';
import { continueText, type TextOptions } from '../../../src/run/continueText.ts';
import { evaluateTokens } from '../../../src/run/evaluateTokens.ts';
import { findCheckpoint } from '../../../src/run/findCheckpoint.ts';
import { type LoadedModel, loadModel } from '../../../src/run/loadModel.ts';
import { blockSize, cpu, type TrainedRun, trainRun } from './trainedModel.ts';

const warnings: string[] = [];
const load = (path: string, options: { best?: boolean } = {}): Promise<LoadedModel> =>
  loadModel({ path, ...options, cwd: folder, engine: cpu, onWarning: (message) => warnings.push(message) });

let folder: string;
let run: TrainedRun;
let loaded: LoadedModel;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-test-'));
  run = await trainRun(join(folder, 'run'), { steps: [3, 5] });
  loaded = await load('run');
});
afterAll(async () => {
  await loaded.engine.dispose();
  await run.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const greedy: TextOptions = { prompt: 'the ', maxTokens: 20, temperature: 0, topK: 0, topP: 1, seed: 1 };

async function textOf(model: LoadedModel, options: Partial<TextOptions>): Promise<string> {
  const pieces: string[] = [];
  for await (const piece of continueText(model, { ...greedy, ...options })) pieces.push(piece);
  return pieces.join('');
}

describe('a checkpoint is found', () => {
  test('in a run directory: the newest', () => {
    expect(loaded.checkpoint.path).toBe(join(folder, 'run', 'checkpoints', 'step-00000005'));
    expect(loaded.description).toContain('(step 5)');
    expect(loaded.runConfig?.sample.prompt).toBe('the ');
  });

  test.each([
    ['run/checkpoints', 5],
    ['run/checkpoints/step-00000003', 3],
  ])('at %s', async (path, step) => {
    const found = await load(path);
    await found.engine.dispose();
    expect(found.checkpoint.trainer?.step).toBe(step);
  });

  test('past a damaged one, with a warning', async () => {
    cpSync(join(folder, 'run'), join(folder, 'damaged'), { recursive: true });
    appendFileSync(join(folder, 'damaged', 'checkpoints', 'step-00000005', 'config.json'), ' ');
    const found = await load('damaged');
    await found.engine.dispose();
    expect(found.checkpoint.trainer?.step).toBe(3);
    expect(warnings.splice(0)).toEqual([
      expect.stringMatching(/^skipped the checkpoint of step 5: .*config.json is damaged.*; using step 3 instead$/),
    ]);
  });

  test.each(['optimizer.safetensors', 'trainer.json'])('without its %s, which only a resume needs', async (name) => {
    const folderOf = join(folder, `without-${name}`);
    cpSync(join(folder, 'run'), folderOf, { recursive: true });
    const newest = join(folderOf, 'checkpoints', 'step-00000005');
    rmSync(join(newest, name));
    const found = await load(`without-${name}`);
    expect(found.checkpoint.step).toBe(5);
    expect(await textOf(found, {})).toBe(await textOf(loaded, {}));
    await found.engine.dispose();
    expect(warnings).toEqual([]);
    await expect(openCheckpoint(newest)).rejects.toThrow(name);
  });

  test('by its validation loss, although newer ones exist', async () => {
    const measured = join(folder, 'measured');
    await (await trainRun(measured, { steps: [2, 3, 5], valLosses: { 2: 3, 3: 2, 5: 2.5 } })).dispose();
    const found = await load('measured', { best: true });
    await found.engine.dispose();
    expect(found.checkpoint.step).toBe(3);
    const notes: string[] = [];
    const onNote = (message: string) => notes.push(message);
    const newest = await findCheckpoint({ path: 'measured', cwd: folder, onWarning: onNote, onNote, verify: 'model' });
    expect(newest.step).toBe(5);
    expect(notes).toEqual(['step 3 has a lower validation loss, 2.0000: use best to select it']);
    const worse = join(measured, 'checkpoints', 'step-00000003', 'model.safetensors');
    appendFileSync(worse, ' ');
    const next = await load('measured', { best: true });
    await next.engine.dispose();
    expect(next.checkpoint.step).toBe(5);
    expect(warnings.splice(0)).toEqual([
      expect.stringMatching(/^skipped the checkpoint of step 3: .*using step 5 instead$/),
    ]);
    // The newest was measured as better, but it is damaged: it is not recommended.
    appendFileSync(join(measured, 'checkpoints', 'step-00000005', 'model.safetensors'), ' ');
    notes.length = 0;
    const older = await findCheckpoint({ path: 'measured', cwd: folder, onWarning: () => {}, onNote, verify: 'model' });
    expect(older.step).toBe(2);
    expect(notes).toEqual([]);
    await expect(load('run', { best: true })).rejects.toThrow(
      'no checkpoint in run/checkpoints has a validation loss, because',
    );
    await expect(load('run/checkpoints/step-00000003', { best: true })).rejects.toThrow(
      'is a checkpoint: name a run directory',
    );
  });

  test('by a validation loss that was measured after it was written, as that of step 0', async () => {
    const late = join(folder, 'late');
    await (await trainRun(late, { steps: [2, 3], valLosses: { 3: 2.5 } })).dispose();
    const lines = [
      { step: 2, valLoss: 9 },
      { step: 2, loss: 3 },
      { step: 2, valLoss: 2 },
      { step: 3, valLoss: 1 },
    ];
    writeFileSync(join(late, 'metrics.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    const notes: string[] = [];
    const choice = { cwd: folder, onWarning: () => {}, verify: 'model' } as const;
    for (const path of ['late', 'late/checkpoints']) {
      expect((await findCheckpoint({ ...choice, path, best: true })).step).toBe(2);
      await findCheckpoint({ ...choice, path, onNote: (message) => notes.push(message) });
    }
    const note = 'step 2 has a lower validation loss, 2.0000: use best to select it';
    expect(notes).toEqual([note, note]);
  });

  test('without a validation loss, where all that have one are damaged', async () => {
    const partly = join(folder, 'partly');
    await (await trainRun(partly, { steps: [2, 3, 5], valLosses: { 5: 2 } })).dispose();
    appendFileSync(join(partly, 'checkpoints', 'step-00000005', 'model.safetensors'), ' ');
    const found = await load('partly', { best: true });
    await found.engine.dispose();
    expect(found.checkpoint.step).toBe(3);
    expect(warnings.splice(0)).toEqual([
      expect.stringMatching(/^skipped .* step 5: .*damaged.*; using step 3, which has no validation loss, instead$/),
    ]);
  });

  test('in the newest run that has one', async () => {
    const cwd = join(folder, 'cwd');
    const choice = { path: undefined, cwd, onWarning: (message: string) => warnings.push(message) };
    const find = () => findCheckpoint({ ...choice, verify: 'model' });
    await expect(find()).rejects.toThrow('there are no runs in runs/ yet');
    const begin = (name: string, changed: number) => {
      mkdirSync(join(cwd, 'runs', name), { recursive: true });
      writeFileSync(join(cwd, 'runs', name, 'config.yaml'), '');
      writeFileSync(join(cwd, 'runs', name, 'metrics.jsonl'), '{"step":1}\n');
      utimesSync(join(cwd, 'runs', name, 'metrics.jsonl'), changed, changed);
    };
    begin('begun', 300);
    await expect(find()).rejects.toThrow('no run in runs/ has a checkpoint');
    cpSync(join(folder, 'run'), join(cwd, 'runs', 'newer'), { recursive: true });
    begin('newer', 200);
    cpSync(join(folder, 'run'), join(cwd, 'runs', 'older'), { recursive: true });
    begin('older', 100);
    expect((await find()).path).toBe(join(cwd, 'runs', 'newer', 'checkpoints', 'step-00000005'));
    expect(warnings.splice(0)).toEqual(['runs/begun has no checkpoint yet: using runs/newer']);
  });

  test('as a bare model folder, which gives the same text', async () => {
    const bare = join(folder, 'bare');
    cpSync(loaded.checkpoint.path, bare, { recursive: true });
    for (const name of ['manifest.json', 'trainer.json', 'optimizer.safetensors']) rmSync(join(bare, name));
    const found = await load('bare');
    expect(found.runConfig).toBeUndefined();
    expect(await textOf(found, {})).toBe(await textOf(loaded, {}));
    await found.engine.dispose();
  });

  test('nowhere else', async () => {
    mkdirSync(join(folder, 'empty'));
    writeFileSync(join(folder, 'file'), '');
    for (const [path, message] of [
      ['absent', 'folder absent not found'],
      ['file', 'file is a file, but a checkpoint or a run is a folder'],
      [join('bare', 'model.safetensors'), 'a run is a folder: name its folder, bare'],
      ['empty', 'has no checkpoint'],
    ] as const) {
      await expect(load(path)).rejects.toThrow(UserError);
      await expect(load(path)).rejects.toThrow(message);
    }
  });

  test('and its tokenizer must fit the model', async () => {
    const mixed = join(folder, 'mixed');
    cpSync(join(folder, 'bare'), mixed, { recursive: true });
    const gpt2 = await openDataset(
      { text: join(folder, 'run', 'text.txt'), tokenizer: 'gpt2', valFraction: 0.1 },
      { blockSize, cwd: folder },
    );
    for (const [name, content] of Object.entries(gpt2.tokenizer.files())) writeFileSync(join(mixed, name), content);
    await expect(load('mixed')).rejects.toThrow('the tokenizer has 50257 tokens, but the model only');
  });
});

describe('generated text', () => {
  test('begins with the prompt, and is the same with and without the cache, past blockSize too', async () => {
    for (const temperature of [0, 1]) {
      const cached = await textOf(loaded, { temperature });
      expect(cached.startsWith('the ')).toBe(true);
      expect(cached.length).toBe(4 + 20);
      expect(await textOf(loaded, { temperature, useCache: false })).toBe(cached);
    }
  });

  test('depends on the seed alone', async () => {
    const hot = { temperature: 1.5, maxTokens: 40 };
    const one = await textOf(loaded, { ...hot, seed: 1 });
    expect(await textOf(loaded, { ...hot, seed: 1 })).toBe(one);
    expect(await textOf(loaded, { ...hot, seed: 2 })).not.toBe(one);
  });

  test('needs a prompt, of known characters', async () => {
    await expect(textOf(loaded, { prompt: '' })).rejects.toThrow('the prompt is empty');
    await expect(textOf(loaded, { prompt: 'THE' })).rejects.toThrow(UserError);
  });

  test('comes in complete characters, though a token may hold a part of one', async () => {
    // GPT-2's first 256 tokens are the single bytes; a hot model of 256 tokens draws all of them.
    const ofBytes = await trainRun(join(folder, 'bytes'), { steps: [1], model: { vocabSize: 256, nLayer: 1 } });
    const model = { ...(await load('bytes')), tokenizer: await createTokenizer('gpt2', '') };
    try {
      const options = { ...greedy, prompt: 'a', temperature: 10, maxTokens: 300 };
      const prompt = model.tokenizer.encode(options.prompt);
      const tokens: number[] = [];
      for await (const token of generate(model.engine, model.model, { ...options, prompt })) tokens.push(token);
      const alone = tokens.map((token) => model.tokenizer.decode([token])).join('');
      const together = model.tokenizer.decode(tokens);
      expect(together).not.toBe(alone); // or else no character was split
      expect(await textOf(model, options)).toBe(options.prompt + together);
    } finally {
      await model.engine.dispose();
      await ofBytes.dispose();
    }
  });
});

test('the loss over a split is the mean of every token but the first, whatever the batches', async () => {
  const dataset = await openDataset(loaded.runConfig!.data, { blockSize, cwd: folder, tokenizer: loaded.tokenizer });
  expect(dataset.sha256).toBe(loaded.checkpoint.trainer?.data.sha256);
  const shares: number[] = [];
  const { sums } = await evaluateTokens(loaded, [dataset.val], (done) => shares.push(done));
  const { loss, weight } = sums;
  expect(weight).toBe(dataset.val.length - 1);
  expect(loss / weight).toBeCloseTo(await run.valLoss(), 5);
  expect(shares.at(-1)).toBe(1);
  const untrained = Math.log(run.modelConfig.vocabSize);
  expect(loss / weight).toBeLessThan(untrained);
});

test.each([Number.NaN, -1, 1.5, 11, '3', [1, 2]])('--top-k %o is refused', (value) => {
  const check = () => numberOption('top-k', value as number, { min: 0, max: 10, whole: true });
  expect(check).toThrow(UserError);
  expect(check).toThrow('--top-k: expected a whole number from 0 to 10, received');
});
