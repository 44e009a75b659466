/**
 * Classifiers and reward models that transformers saved (test/fixtures/classifier): logits, losses and gradients are those of
 * transformers, and Lockstep's own folders give the same.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import { openCheckpoint } from '../../../src/checkpoint/openCheckpoint.ts';
import { readSafetensorsHeader } from '../../../src/checkpoint/safetensors.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { objectiveOf } from '../../../src/model/objectives/registry.ts';
import { Trainer } from '../../../src/model/training.ts';
import { logitsOf } from '../../../src/run/classifyTexts.ts';
import { evaluateRows } from '../../../src/run/evaluateRows.ts';
import { loadModel } from '../../../src/run/loadModel.ts';
import { restoreCheckpoint, saveCheckpoint } from '../../../src/run/saveCheckpoint.ts';
import { loadCheckpoint } from '../../../src/run/trainedModel.ts';
import { builtInTemplates } from '../../../src/task/builtInTemplates.ts';
import { labelledSample } from '../../../src/task/classify.ts';
import { tokenSampleFields } from '../../../src/task/nextToken.ts';
import { collate, type SampleField } from '../../../src/task/task.ts';
import { relativeError } from '../../parity/kernels/harness.ts';
import { cpu } from './trainedModel.ts';

const fixtures = join(packageRoot, 'test/fixtures/classifier');
const expected = JSON.parse(readFileSync(join(fixtures, 'expected.json'), 'utf8'));
const { rows, texts, targets } = expected as { rows: number[][]; texts: string[]; targets: number[] };
const names = ['classes', 'reward'] as const;
const onWarning = (message: string) => expect.fail(message);

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-classifier-'));
  cpSync(fixtures, cwd, { recursive: true });
});
afterAll(() => rmSync(cwd, { recursive: true }));

async function logitsIn(path: string): Promise<number[][]> {
  const loaded = await loadModel({ path, cwd, engine: cpu, onWarning });
  const logits: number[][] = [];
  for await (const each of logitsOf(
    loaded,
    rows.map((row) => labelledSample(row, 0)),
  ))
    logits.push([...each]);
  await loaded.engine.dispose();
  return logits;
}

function batchOf(name: (typeof names)[number]) {
  const length = Math.max(...rows.map((row) => row.length));
  if (name === 'classes') {
    return collate(
      tokenSampleFields,
      rows.map((row, i) => labelledSample(row, targets[i]!)),
      length,
    );
  }
  const samples = rows.flatMap((chosen, i) => {
    if (i % 2 === 1) return [];
    const [first, second] = [labelledSample(chosen, 0), labelledSample(rows[i + 1]!, 0)];
    return {
      chosen: first.tokens,
      chosenTargets: first.targets,
      rejected: second.tokens,
      rejectedTargets: second.targets,
    };
  });
  const { tokens, targets: labels } = tokenSampleFields as Record<'tokens' | 'targets', SampleField>;
  const fields = { chosen: tokens, chosenTargets: labels, rejected: tokens, rejectedTargets: labels };
  return collate(fields, samples, length);
}

async function gradientsOfFixture(name: string): Promise<Map<string, Float32Array>> {
  const path = join(fixtures, `${name}-gradients.safetensors`);
  const { entries } = await readSafetensorsHeader(path);
  const bytes = readFileSync(path);
  return new Map(
    entries.map(({ name: key, begin, end }) => [
      key,
      new Float32Array(Uint8Array.from(bytes.subarray(begin, end)).buffer),
    ]),
  );
}

describe.each(names)('%s', (name) => {
  it('has the logits of transformers, for texts padded on either side', async () => {
    const logits = await logitsIn(name);
    for (const [i, row] of logits.entries()) {
      for (const [k, value] of row.entries()) {
        expect(Math.abs(value - expected[name].logits[i][k]), `${i}, ${k}`).toBeLessThan(1e-5);
      }
    }
  });

  it('has the loss and the gradients of PyTorch, and the same logits in a folder of our own', async () => {
    const engine = await createEngine(cpu);
    const { modelConfig } = await openCheckpoint(join(cwd, name));
    const objective = objectiveOf(name, configSchema.parse({}).task);
    const trainer = new Trainer(engine, modelConfig, { seed: 1, objective });
    await restoreCheckpoint(name, trainer, { cwd });
    const batch = batchOf(name);
    const { weight } = await trainer.evaluate(batch);
    const sums = await trainer.microStep({ ...batch, lossScale: 1 / weight });
    expect(Math.abs(sums.loss / weight - expected[name].loss)).toBeLessThan(1e-5);
    const gradients = await gradientsOfFixture(name);
    expect([...gradients.keys()].sort()).toEqual(trainer.parameters.specs.map((spec) => spec.name).sort());
    for (const [index, spec] of trainer.parameters.specs.entries()) {
      const gradient = new Float32Array(spec.size);
      await trainer.parameters.readTensor('grads', index, gradient);
      // The keys' biases have no gradient but rounding, so all are compared with the largest of any parameter of the layer.
      expect(relativeError(gradient, gradients.get(spec.name)!, 0.01), spec.name).toBeLessThan(1e-5);
    }
    const { tokenizer, engine: other } = await loadModel({ path: name, cwd, engine: cpu, onWarning });
    const path = await saveCheckpoint(`own-${name}`, trainer, { step: 1, dataset: { tokenizer, sha256: '0' }, cwd });
    await Promise.all([engine.dispose(), other.dispose()]);
    expect(await logitsIn(path)).toEqual(await logitsIn(name));
    expect((await openCheckpoint(path)).modelConfig).toEqual(modelConfig);
  });
});

describe('texts', () => {
  it('are classified alike alone and together, and generated by none', async () => {
    const model = await loadCheckpoint('classes', { cwd, engine: cpu });
    const together = await model.classify(texts);
    for (const [i, { label, probabilities }] of together.entries()) {
      const logits: number[] = expected.classes.logits[i];
      expect(label).toBe(['ham', 'spam', 'other'][logits.indexOf(Math.max(...logits))]);
      expect(Object.values(probabilities).reduce((a, b) => a + b)).toBeCloseTo(1, 12);
      const [alone] = await model.classify([texts[i]!]);
      expect(alone!.probabilities['spam']).toBeCloseTo(probabilities['spam']!, 6);
    }
    await expect(model.classify([''])).rejects.toThrow('the text is empty');
    await expect(model.classify(['a', 'b'.repeat(25)])).rejects.toThrow(
      "text 2 has 25 tokens, but the model reads at most 24: shorten it, or set tooLong: 'truncate' to classify its beginning",
    );
    const [long, start] = await model.classify([`${'b'.repeat(24)}aaa`, 'b'.repeat(24)], { tooLong: 'truncate' });
    expect(long).toEqual(start);
    await expect(model.classify(['a'], { tooLong: 'drop' as never })).rejects.toThrow(
      'tooLong: expected error or truncate, received "drop"',
    );
    await expect(model.generate('a').next()).rejects.toThrow('classifies texts (ham, spam, other)');
    await expect(model.evaluate('some text')).rejects.toThrow('classifies texts');
    await model.dispose();
    const scorer = await loadCheckpoint('reward', { cwd, engine: cpu });
    await expect(scorer.classify(['a'])).rejects.toThrow(
      'the model scores texts (reward): expected one with at least two',
    );
    await scorer.dispose();
  });

  it('are scored as answers, in the form of the model', async () => {
    const bare = await loadCheckpoint('reward', { cwd, engine: cpu });
    await expect(bare.score([{ prompt: 'a', completion: 'b' }])).rejects.toThrow(
      /reward has no chat template, with which/,
    );
    await bare.dispose();
    cpSync(join(fixtures, 'reward'), join(cwd, 'scorer'), { recursive: true });
    writeFileSync(join(cwd, 'scorer/chat_template.jinja'), builtInTemplates.plain);
    const model = await loadCheckpoint('scorer', { cwd, engine: cpu });
    const answers = ['b', 'ab', 'b'].map((completion) => ({ prompt: 'a', completion }));
    const scores = await model.score(answers);
    const { tokenizer } = model;
    const loaded = await loadModel({ path: 'scorer', cwd, engine: cpu, onWarning });
    const tokens = [...tokenizer.encode('ab'), tokenizer.endOfText!];
    for await (const [logit] of logitsOf(loaded, [labelledSample(tokens, 0)])) expect(scores[0]).toBeCloseTo(logit!, 6);
    await loaded.engine.dispose();
    expect(scores[2]).toBe(scores[0]);
    expect(scores[1]).not.toBe(scores[0]);
    expect(await model.score([{ prompt: 'b'.repeat(40), completion: 'b' }])).toHaveLength(1);
    expect(await model.score([{ prompt: 'a', completion: '' }])).toHaveLength(1);
    await expect(model.score([answers[0]!, { prompt: '', completion: 'a' }])).rejects.toThrow(
      'answers[1]: expected { prompt, completion }, two texts of which only the answer may be empty',
    );
    await model.dispose();
    const classifier = await loadCheckpoint('classes', { cwd, engine: cpu });
    await expect(classifier.score(answers)).rejects.toThrow('has no chat template');
    await classifier.dispose();
  });

  it('are evaluated in rows', async () => {
    const labels = ['ham', 'spam', 'other'];
    writeFileSync(
      join(cwd, 'rows.jsonl'),
      texts.map((text, i) => JSON.stringify({ text, label: labels[targets[i]!] })).join('\n'),
    );
    const loaded = await loadModel({ path: 'classes', cwd, engine: cpu, onWarning });
    const notices: string[] = [];
    const onNotice = (line: string) => void notices.push(line);
    const options = { cwd, split: 'val', onNotice, onProgress: () => undefined } as const;
    const evaluation = await evaluateRows(loaded, { paths: ['rows.jsonl'], ...options });
    const right = targets.filter((target, i) => {
      const logits: number[] = expected.classes.logits[i];
      return logits.indexOf(Math.max(...logits)) === target;
    }).length;
    if (!('confusion' in evaluation)) return expect.unreachable();
    expect(evaluation).toMatchObject({ rows: 8, accuracy: right / 8 });
    expect(Math.abs(evaluation.loss - expected.classes.loss)).toBeLessThan(1e-5);
    writeFileSync(join(cwd, 'wrong.csv'), 'text,label\nhello,maybe\n');
    await expect(evaluateRows(loaded, { paths: ['wrong.csv'], ...options })).rejects.toThrow('wrong.csv:2: the label');
    await loaded.engine.dispose();
  });
});
