/** A model that is not a transformer, through every command: trained, resumed, evaluated and sampled. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { launch, set, useFolder } from './launch.ts';

const folder = useFolder();

async function run(args: readonly string[]): Promise<string> {
  const result = await launch(args, folder());
  expect(result.code, result.stderr).toBe(0);
  return result.stdout;
}

/** The smallest mean loss that a table of pairs can have over a text: -log of how often each character followed the one before. */
function countedLoss(text: string): number {
  const [pairs, firsts] = [new Map<string, number>(), new Map<string, number>()];
  const characters = [...text];
  for (const [i, next] of characters.slice(1).entries()) {
    const pair = characters[i]! + next;
    pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
    firsts.set(characters[i]!, (firsts.get(characters[i]!) ?? 0) + 1);
  }
  let sum = 0;
  for (const [pair, count] of pairs) sum -= count * Math.log(count / firsts.get([...pair][0]!)!);
  return sum / (characters.length - 1);
}

it('learns what counting gives, over a resume, and generates', async () => {
  const license = await readFile(new URL('../../LICENSE', import.meta.url), 'utf8');
  const text = join(folder(), 'text.txt');
  await writeFile(text, license.repeat(4));
  const config = [`data.text=${text}`, 'model.blockSize=32', 'train.globalBatchSize=64', 'train.microBatchSize=32'];
  const steps = ['schedule.decaySteps=200', 'eval.everySteps=0', 'sample.maxTokens=0'];
  const args = ['--config', 'bigram', '--workers', '2', '--run-dir', 'pairs'];
  await run([...args, ...set(...config, ...steps, 'train.maxSteps=100')]);
  await run(['--resume', 'pairs', ...set('train.maxSteps=200')]);

  const { loss, tokens } = JSON.parse(await run(['eval', '--checkpoint', 'pairs', '--split', 'train', '--json']));
  const counted = countedLoss(license.repeat(4).slice(0, tokens + 1));
  expect(loss).toBeGreaterThan(counted);
  expect(loss).toBeLessThan(counted + 0.01);
  const sample = ['generate', '--checkpoint', 'pairs', '--prompt', 'the', '--max-tokens', '40', '--seed', '1'];
  const generated = await run(sample);
  expect(generated.length).toBeGreaterThan(40);
  expect(await run(sample)).toBe(generated);
});
