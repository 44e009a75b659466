/** The text that ends a run: printed, kept, and given up when somebody has seen enough. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { launch, set, start, tiny, useFolder } from './launch.ts';

const folder = useFolder();

it('is kept in samples.jsonl, for pages and reports; the command at the end generates more', async () => {
  const options = set(...tiny, 'train.maxSteps=3', 'sample.maxTokens=30');
  const { code, stdout } = await launch(['--run-dir', 'kept', ...options], folder());
  expect(code).toBe(0);
  const printed = /--- sample ---\n([\s\S]*)\n--------------\n/.exec(stdout)?.[1];
  const kept = JSON.parse(readFileSync(join(folder(), 'kept/samples.jsonl'), 'utf8'));
  expect(kept).toEqual({ step: 3, prompt: '\n', text: printed?.slice(1) });
  const [, words = ''] = /^done: kept\. Generate more text: npx launch (.*)$/m.exec(stdout) ?? [];
  expect(await launch([...words.split(' '), '--max-tokens', '5'], folder())).toMatchObject({ code: 0 });
});

it('ends with Ctrl-C; the run is done all the same', async () => {
  const options = set(...tiny, 'train.maxSteps=3', 'sample.maxTokens=1000000');
  const run = start(['--run-dir', 'long', ...options], folder());
  await run.printed(/--- sample ---\n.{100}/s);
  run.process.kill('SIGINT');
  expect(await run.finished).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/\n-{14}\n\ndone: long. Generate more text: npx launch generate long\n$/),
  });
  expect(readFileSync(join(folder(), 'long/samples.jsonl'), 'utf8')).toMatch(/^\{"step":3,/);
});
