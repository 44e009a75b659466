/**
 * Fine-tuning: a run that begins with weights which another program saved (test/fixtures/gpt2) is at step 0 what they are, and makes the
 * steps that PyTorch makes of them.
 */
import { cpSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { hashFile } from '../../src/base/wholeFiles.ts';
import { launch, lossesOf, metricsOf, set, useFolder } from './launch.ts';

const folder = useFolder();
const fixtures = join(packageRoot, 'test/fixtures/gpt2');
const { train, optimizer, runs } = JSON.parse(readFileSync(join(fixtures, 'losses.json'), 'utf8'));
const text = join(fixtures, 'text.txt');
const overrides = [
  `data.text=${text}`,
  'model.dropout=0',
  `train.seed=${train.seed}`,
  `train.globalBatchSize=${train.globalBatchSize}`,
  `train.microBatchSize=${train.globalBatchSize}`,
  `train.maxSteps=${train.steps}`,
  `optimizer.beta1=${optimizer.beta1}`,
  `optimizer.beta2=${optimizer.beta2}`,
  `optimizer.eps=${optimizer.eps}`,
  `optimizer.weightDecay=${optimizer.weightDecay}`,
  `optimizer.gradClip=${optimizer.gradClip}`,
  'schedule.kind=constant',
  'schedule.warmupSteps=0',
  'schedule.minLearningRate=0',
  `schedule.learningRate=${optimizer.learningRate}`,
  `eval.everySteps=${train.steps}`,
  'eval.batches=0',
  'sample.maxTokens=0',
];

function expectLosses(losses: readonly number[], expected: readonly number[]): void {
  expect(losses).toHaveLength(expected.length);
  for (const [i, loss] of losses.entries()) {
    expect(Math.abs(loss / expected[i]! - 1), `step ${i + 1}`).toBeLessThan(1e-4);
  }
}

it.each([
  ['sharded', '--single-process', []],
  ['bare', '--workers=2', ['data.tokenizer=byte']],
] as const)('%s weights train as with PyTorch, and the run needs them no more', async (name, how, more) => {
  const weights = `${name}-weights`;
  cpSync(join(fixtures, name), join(folder(), weights), { recursive: true });
  const args = [how, '--init-from', weights, '--run-dir', name];
  const trained = await launch([...args, ...set(...overrides, ...more)], folder());
  expect(trained).toMatchObject({ code: 0, orphans: [] });
  expect(trained.stdout).toMatch(/^starts with the weights of .*, context 16, dropout 0$/m);
  expect(trained.stderr).toBe(
    name === 'sharded'
      ? ''
      : 'warning: bare-weights has no tokenizer: using that of the data, which must be the one that the weights were trained with\n',
  );

  const [first] = await metricsOf(join(folder(), name));
  expect(first!.step).toBe(0);
  expect(Math.abs(first!.valLoss! / runs[name].validation - 1)).toBeLessThan(1e-6);
  if (name === 'sharded') {
    const evaluated = await launch(['eval', '--checkpoint', weights, '--data', text, '--json'], folder());
    expect(JSON.parse(evaluated.stdout).loss).toBe(first!.valLoss);
  }
  expectLosses(await lossesOf(join(folder(), name)), runs[name].losses);

  const events = readFileSync(join(folder(), name, 'events.jsonl'), 'utf8');
  const begun = JSON.parse(events.split('\n')[0]!);
  const file = join(fixtures, name, name === 'bare' ? 'model.safetensors' : 'model-00001-of-00002.safetensors');
  expect(begun.event).toBe('initialised');
  expect(begun.reason).toContain(await hashFile(file, readFileSync(file).length));

  renameSync(join(folder(), weights), join(folder(), `${weights}-gone`));
  const resumed = await launch(['--resume', name, how, ...set(`train.maxSteps=${train.steps + 2}`)], folder());
  expect(resumed).toMatchObject({ code: 0, stderr: '' });
  expect(await lossesOf(join(folder(), name))).toHaveLength(train.steps + 2);
});
