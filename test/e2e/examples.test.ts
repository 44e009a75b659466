/** The programs in examples/, as `npm run build` leaves them. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { nightlyIt } from '../nightly.ts';
import { launch, startProgram, useFolder } from './launch.ts';

const folder = useFolder();
const corpus = join(packageRoot, 'data', 'tinyshakespeare.txt');
const example = (name: string, ...args: string[]) =>
  startProgram([process.execPath, join(packageRoot, 'build/examples', `${name}.js`), ...args], folder());

it('train: trains on a text and continues it', async () => {
  const run = example('train', corpus, '12');
  const { code, stdout, stderr } = await run.finished;
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/step 10 {2}loss \d\.\d{4}[\s\S]*done at step 12, validation loss \d\.\d{4}, in /);
  expect(stdout.length).toBeGreaterThan(300);
  expect(existsSync(join(folder(), 'runs/run/checkpoints/step-00000012'))).toBe(true);
  expect(await run.descendants()).toEqual([]);
});

it('customLoop: a training loop of its own', async () => {
  const { code, stdout, stderr } = await example('customLoop', corpus, '20').finished;
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const losses = [...stdout.matchAll(/loss (\d+\.\d+)/g)].map(([, loss]) => Number(loss));
  expect(losses.length).toBeGreaterThan(2);
  expect(losses.at(-1)).toBeLessThan(losses[0]!);
  const args = ['--checkpoint', 'runs/custom', '--prompt', 'the ', '--max-tokens', '5'];
  const generated = await launch(['generate', ...args], folder());
  expect(generated).toMatchObject({ code: 0, stdout: expect.stringMatching(/^the /m) });
});

it('server: streams text, refuses what is too long, and lets a client leave', async () => {
  const server = example('server', 'runs/run', '0');
  const [, port = ''] = await server.printed(/port: (\d+)/);
  const url = `http://127.0.0.1:${port}/`;
  const ask = (tokens: number, prompt: string) => fetch(`${url}?tokens=${tokens}`, { method: 'POST', body: prompt });
  const pieces: string[] = [];
  const decoder = new TextDecoder();
  for await (const bytes of (await ask(40, 'the ')).body!) pieces.push(decoder.decode(bytes as Uint8Array));
  expect(pieces.join('')).toHaveLength(40);
  expect((await ask(40, 'x'.repeat(9_000))).status).toBe(400);
  expect((await ask(1e9, 'the ')).status).toBe(400);
  expect(await (await ask(0, 'the ')).text()).toBe('tokens: expected 1 to 1000');
  const leaver = new AbortController();
  const left = await fetch(`${url}?tokens=1000`, { method: 'POST', body: 'the ', signal: leaver.signal });
  leaver.abort();
  await expect(left.text()).rejects.toThrow();
  expect(await (await ask(3, 'the ')).text()).toHaveLength(3);
  server.process.kill('SIGTERM');
  expect(await server.finished).toMatchObject({ code: 0, stderr: '' });
});

nightlyIt(
  'assistant: the reward rises with PPO and GRPO, and what annotators like with it',
  async () => {
    const { code, stdout } = await example('assistant/main').finished;
    expect(code).toBe(0);
    const rises = (label: string) =>
      [...stdout.matchAll(new RegExp(`${label} +(-?[\\d.]+) ± 0.00 before, (-?[\\d.]+) ± 0.00 after`, 'g'))].map(
        ([, before, after]) => Number(after) - Number(before),
      );
    for (const label of ['learned reward', 'what annotators like']) {
      expect(rises(label)).toHaveLength(2);
      for (const rise of rises(label)) expect(rise, label).toBeGreaterThan(0.5);
    }
    for (const [, kl] of stdout.matchAll(/largest KL divergence of an iteration ([\d.]+)/g)) {
      expect(Number(kl)).toBeLessThan(0.5);
    }
    for (const picture of ['reward', 'kl'])
      expect(existsSync(join(folder(), `runs/assistant/${picture}.svg`))).toBe(true);
  },
  1_800_000,
);
