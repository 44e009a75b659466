/** `launch generate` and `launch eval` as commands: what they print, where, and with which exit code. */
import { spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { trainRun } from '../unit/run/trainedModel.ts';

let folder: string;
let valLoss: number;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-test-'));
  const run = await trainRun(join(folder, 'run'));
  valLoss = await run.valLoss();
  await run.dispose();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function launch(...args: string[]) {
  const options = { cwd: folder, encoding: 'utf8' } as const;
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [join(packageRoot, 'dist/cli/main.js'), ...args],
    options,
  );
  return { stdout, stderr, status };
}

describe('launch generate', () => {
  const generate = (...args: string[]) => launch('generate', '--checkpoint', 'run', '--prompt', 'the ', ...args);

  test("continues the run's own prompt; standard output is the text alone", () => {
    const { stdout, stderr, status } = launch('generate', '--checkpoint', 'run');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^the [^\n]{12}\n$/);
    expect(stderr).toMatch(/step-00000005 \(step 5\): [\d,]+ parameters, /);
    expect(stderr).toMatch(/\n12 tokens: the first after \d+\.\d\d s, then [\d.]+ per second\n$/);
  });

  test('gives the same text for a seed, with and without the cache, on every engine that is everywhere', () => {
    const options = ['--temperature', '1.2', '--top-k', '7', '--top-p', '0.9', '--max-tokens', '30', '--seed', '5'];
    const text = generate(...options).stdout;
    expect(text.length).toBe('the '.length + 30 + 1);
    expect(generate(...options).stdout).toBe(text);
    expect(generate(...options, '--no-cache').stdout).toBe(text);
    expect(generate(...options, '--engine', 'tfjs', '--device-kind', 'cpu').stdout).toBe(text);
    expect(generate(...options, '--engine', 'tfjs').stdout).toBe(text);
    expect(generate(...options, '--seed', '6').stdout).not.toBe(text);
  });

  test.each<[string[], string]>([
    [['--prompt', ''], 'launch: --prompt: expected a non-empty text'],
    [['--prompt', 'THE'], 'launch: the text has characters that are not among'],
    [['--top-p', '2'], 'launch: --top-p: expected a number from 0.0001 to 1, received 2'],
    [['--temperature', 'warm'], 'launch: --temperature: expected a number, received "warm"'],
    [['--max-tokens', '-1'], 'launch: --max-tokens: expected a whole number from 0'],
    [['--engine', 'abacus'], '--engine: expected one of'],
    [['--frobnicate'], 'unknown option --frobnicate'],
  ])('%j is refused with exit code 2 and no stack', (args, message) => {
    const { stdout, stderr, status } = launch('generate', '--checkpoint', 'run', ...args);
    expect({ stdout, status }).toEqual({ stdout: '', status: 2 });
    expect(stderr).toContain(message);
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  test('a damaged checkpoint is refused by its file, an absent one by its path', () => {
    const damaged = join(folder, 'damaged');
    cpSync(join(folder, 'run', 'checkpoints', 'step-00000005'), damaged, { recursive: true });
    appendFileSync(join(damaged, 'model.safetensors'), 'x');
    for (const [path, message] of [
      ['damaged', `${join(damaged, 'model.safetensors')} is damaged`],
      ['absent', 'folder absent not found'],
    ] as const) {
      const { stderr, status } = launch('generate', '--checkpoint', path);
      expect(status).toBe(2);
      expect(stderr).toContain(`launch: ${message}`);
    }
  });
});

describe('launch eval', () => {
  test("measures the run's own validation split, for people and for programs", () => {
    const { stdout, stderr, status } = launch('eval', '--checkpoint', 'run');
    expect(status).toBe(0);
    expect(stdout).toMatch(/val loss [\d.]+, perplexity [\d.]+, [\d.]+ bits per byte, over \d+ tokens\n$/);
    expect(stderr).not.toContain('warning');
    const result = JSON.parse(launch('eval', '--checkpoint', 'run', '--json').stdout);
    expect(result).toMatchObject({ step: 5, split: 'val', data: { sameAsTrained: true } });
    expect(result.loss).toBeCloseTo(valLoss, 4);
    expect(result.perplexity).toBeCloseTo(Math.exp(valLoss), 2);
    expect(stdout).toContain(`val loss ${result.loss.toFixed(4)}, `);
    expect(result.bitsPerByte).toBeCloseTo((result.loss * result.tokens) / Math.LN2 / result.bytes, 6);
  });

  test('takes another text, and all of it', () => {
    writeFileSync(join(folder, 'other.txt'), 'a cat that sat on the mat. '.repeat(20));
    const other = (split: string) =>
      JSON.parse(launch('eval', '--checkpoint', 'run', '--data', 'other.txt', '--split', split, '--json').stdout);
    const [val, train, all] = ['val', 'train', 'all'].map(other);
    expect(val.data.sameAsTrained).toBe(false);
    expect(all.tokens).toBe(val.tokens + train.tokens);
    expect(all.loss * all.tokens).toBeCloseTo(val.loss * val.tokens + train.loss * train.tokens, 4);
    const { stderr, status } = launch('eval', '--checkpoint', 'run', '--data', 'absent.txt');
    expect(status).toBe(2);
    expect(stderr).toContain('launch: --data: there is no file or folder absent.txt');
  });

  test('takes a text that is shorter than the context, as the library does, whatever the split', () => {
    writeFileSync(join(folder, 'short.txt'), 'a cat sat.');
    const short = (...more: string[]) => launch('eval', '--checkpoint', 'run', '--data', 'short.txt', ...more);
    const all = JSON.parse(short('--split', 'all', '--json').stdout);
    // The first of the 9 characters before the split is not predicted.
    expect(all).toMatchObject({ split: 'all', tokens: 8 });
    expect(JSON.parse(short('--split', 'train', '--json').stdout).loss).toBe(all.loss);
    const { stderr, status } = short();
    expect(status).toBe(2);
    expect(stderr).toContain('launch: --data is too short: ');
    expect(stderr).toContain('--split val has 1 tokens, expected at least 2 in a row, or --split all');
  });

  test('says so when the text of the run has changed', () => {
    appendFileSync(join(folder, 'run', 'text.txt'), 'the mat sat.');
    const { stdout, stderr, status } = launch('eval', '--checkpoint', 'run', '--json');
    expect(status).toBe(0);
    expect(stderr).toContain('warning: the text has changed since the checkpoint was written');
    expect(JSON.parse(stdout).data.sameAsTrained).toBe(false);
  });
});
