/** The data and configs of examples/assistant. test/e2e/examples.test.ts runs it at night. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demonstration, prefersFirst, qualityOf, questions, randomOf } from '../../../examples/assistant/domain.ts';
import { heldOut, makeData } from '../../../examples/assistant/makeData.ts';
import { runToEnd } from '../../../examples/assistant/runToEnd.ts';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import { loadConfig } from '../../../src/config/load.ts';

const example = join(packageRoot, 'examples/assistant');
const config = (name: string) => loadConfig({ file: join(example, `${name}.yaml`), cwd: packageRoot }).config;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-assistant-'));
  makeData(folder);
});
afterAll(() => rmSync(folder, { recursive: true }));

type Row = Record<'text' | 'prompt' | 'completion' | 'chosen' | 'rejected', string>;
const rowsOf = (name: string): Partial<Row>[] =>
  readFileSync(join(folder, name), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

describe('the data', () => {
  it('is that of the configs, the same each time', () => {
    const again = mkdtempSync(join(folder, 'again-'));
    makeData(again);
    const names = ['pretrain', 'sft', 'reward', 'ppo', 'grpo'].flatMap((name) => {
      const { data } = config(name);
      return [data.examples, data.validation].flat().map((path) => path.replace('runs/assistant/data/', ''));
    });
    expect([...new Set(names)].sort()).toEqual(readdirSync(again).sort());
    for (const name of names) {
      expect(readFileSync(join(again, name)).equals(readFileSync(join(folder, name))), name).toBe(true);
    }
  });

  it('fits into the model, with the characters of its books and a token that ends each row', () => {
    const characters = new Set(rowsOf('books.jsonl').flatMap(({ text = '' }) => [...text]));
    const { blockSize } = config('pretrain').model;
    for (const name of readdirSync(folder).filter((entry) => entry.endsWith('.jsonl'))) {
      const texts = rowsOf(name).flatMap(({ text = '', prompt = '', completion = '', chosen = '', rejected = '' }) =>
        [completion, chosen, rejected].map((answer) => `${text}${prompt}${answer}`),
      );
      expect([...new Set(texts.join(''))].filter((character) => !characters.has(character))).toEqual([]);
      expect(Math.max(...texts.map(({ length }) => length))).toBeLessThan(blockSize);
    }
  });

  it('never asks the questions of the end before', () => {
    const texts = new Set(heldOut.map(({ text }) => `${text}\n`));
    expect(texts.size).toBe(24);
    for (const name of ['demonstrations.jsonl', 'comparisons.jsonl', 'prompts.jsonl']) {
      expect(rowsOf(name).filter(({ prompt = '' }) => texts.has(prompt))).toEqual([]);
    }
  });

  it('has answers of people, of whom some are mistaken, and annotators who mostly agree with what they like', () => {
    const random = randomOf(5);
    const question = questions.find(({ text }) => text === 'Which is larger, 3 or 8?')!;
    expect(question).toMatchObject({ answer: 8, fact: 'The larger of 3 and 8 is 8.' });
    const answers = Array.from({ length: 2_000 }, () => demonstration(question, random));
    const share = (holds: (answer: string) => boolean) => answers.filter(holds).length / answers.length;
    expect(share((answer) => answer === 'Sure! It is 8.')).toBeCloseTo(0.2 * 0.75, 1);
    expect(share((answer) => answer === 'Ask somebody else.')).toBeCloseTo(0.1, 1);
    expect(share((answer) => /\d/.test(answer) && !answer.includes('8'))).toBeCloseTo(0.9 * 0.25, 1);
    const ordered = ['Sure! It is 8.', 'It is 8.', 'I am not sure, but I think it is 8.', '3. Everybody knows that.'];
    const qualities = ordered.map((answer) => qualityOf(question, answer));
    expect(qualities).toEqual(qualities.toSorted((a, b) => b - a));
    expect(qualities[0]).toBe(2 + 1 - 14 / 40);
    const votes = Array.from({ length: 500 }, () => prefersFirst(question, ['It is 3.', 'Sure! It is 3.'], random));
    expect(votes.filter(Boolean).length / votes.length).toBeCloseTo(1 / (1 + Math.exp(3 * (1 - 6 / 40))), 1);
  });
});

describe('the configs', () => {
  it('bound the divergence of both policies, which learn from the reward model', () => {
    for (const kind of ['ppo', 'grpo']) {
      const { task, train } = config(kind);
      expect(task).toMatchObject({ kind, reward: 'runs/assistant/reward', klMax: 0.5 });
      const iterations = (train.maxSteps * train.globalBatchSize) / (task.prompts * task.group * task.inner);
      expect(Number.isInteger(iterations)).toBe(true);
    }
  });
});

it('waits for a command that Ctrl-C ends, and starts no other', async () => {
  const listeners = process.listenerCount('SIGINT');
  const saved = join(folder, 'saved');
  const save = `setTimeout(() => fs.writeFileSync(${JSON.stringify(saved)}, ''), 50)`;
  const ended = runToEnd(process.execPath, ['-e', save]);
  // As a terminal sends it to both processes; the command has no other work than to save.
  process.emit('SIGINT', 'SIGINT');
  expect(await ended).toBe(130);
  expect(readdirSync(folder)).toContain('saved');
  expect(await runToEnd(process.execPath, ['-e', 'process.exit(3)'])).toBe(3);
  expect(process.listenerCount('SIGINT')).toBe(listeners);
});
