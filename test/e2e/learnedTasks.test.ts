/**
 * What fine-tuning is for: models that learn a task from rows, and do it on rows that they have not seen. Each trains from random weights
 * through `train`, and answers as `launch chat` and `launch eval` make it.
 *
 * An answer must be right, and it must end by itself: the token that ends an answer is a target like the others. A mutant whose targets
 * lack it shows that the test sees the difference.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, vi } from 'vitest';
import { type LabelledText, naiveBayes } from '../../bench/classify/naiveBayes.ts';
import { extendKey, type RandomKey, randomKey, randomUniform } from '../../src/base/counterRandom.ts';
import { packageRoot } from '../../src/base/packageRoot.ts';
import type { ConfigInput } from '../../src/config/configTypes.ts';
import { templateOf } from '../../src/data/tokenizers/chatTemplate.ts';
import { evaluateAnswers } from '../../src/run/evaluateAnswers.ts';
import { type ClassesEvaluation, evaluateRows } from '../../src/run/evaluateRows.ts';
import { type LoadedModel, loadModel } from '../../src/run/loadModel.ts';
import { TextBatch } from '../../src/run/textBatch.ts';
import { ChatFormat } from '../../src/task/chatFormat.ts';
import { exactMatch } from '../../src/task/exactMatch.ts';
import type * as sft from '../../src/task/sft.ts';
import { nightlyIt } from '../nightly.ts';
import { useFolder } from './launch.ts';

type Library = typeof import('../../src/index.ts');

/** Workers run compiled files. */
const built = (name: string) => join(packageRoot, 'dist', name);
const folder = useFolder();
// Each takes minutes on a busy machine.
vi.setConfig({ testTimeout: 1_200_000 });

afterEach(() => {
  vi.doUnmock(built('task/sft.js'));
  vi.resetModules();
});

/** Trains a model on the rows of a file, and loads it. */
async function trained(name: string, config: ConfigInput, file: string): Promise<LoadedModel> {
  const { train } = (await import(built('index.js'))) as Library;
  const cwd = folder();
  const { data, ...groups } = config;
  const start = performance.now();
  const { loss, runDir } = await train({
    config: {
      ...groups,
      data: { ...data, examples: file, valFraction: 0 },
      eval: { everySteps: 0 },
      checkpoint: { everySteps: 0 },
      sample: { maxTokens: 0 },
      engine: { name: 'native', threads: 2 },
    },
    runDir: name,
    singleProcess: true,
    cwd,
  });
  note(
    `${name}: trained in ${((performance.now() - start) / 1000).toFixed(0)} s, loss of the last step ${loss?.toFixed(4)}`,
  );
  return loadModel({ path: runDir, cwd, engine: { name: 'native' }, onWarning: note });
}

/** The figures are the point of these tests: docs/log.md has those of one machine. */
function note(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** A question and the only right answer. */
interface Pair {
  readonly question: string;
  readonly answer: string;
}

interface Answers {
  /** Fraction of the answers that are right to the character. */
  readonly exact: number;
  /** Fraction of the answers that ended at an end token, not at the limit of their length. */
  readonly ended: number;
}

/** Asks the model, as `launch chat` does, and takes the most likely answers. */
async function ask(loaded: LoadedModel, pairs: readonly Pair[], maxTokens: number): Promise<Answers> {
  const format = new ChatFormat(templateOf(loaded.tokenizer)!, loaded.tokenizer);
  const texts = pairs.map(() => '');
  let ended = 0;
  for (let from = 0; from < pairs.length; from += 64) {
    const batch = new TextBatch<number>(loaded);
    for (const [i, { question }] of pairs.slice(from, from + 64).entries()) {
      const prompt = format.encode(format.prompt([{ role: 'user', content: question }])).tokens;
      const { endTokens } = format;
      batch.add(from + i, { prompt, maxTokens, temperature: 0, topK: 0, topP: 1, seed: 1, stop: [], endTokens });
    }
    while (batch.size > 0) {
      for (const { of: index, text, finish } of await batch.step()) {
        texts[index] += text;
        if (finish === 'stop') ended++;
      }
    }
    batch.release();
  }
  const wrong = pairs.flatMap(({ question, answer }, i) =>
    texts[i] === answer ? [] : [`${JSON.stringify(question)} → ${texts[i]}`],
  );
  const answers = { exact: 1 - wrong.length / pairs.length, ended: ended / pairs.length };
  note(
    `${percent(answers.exact)} of ${pairs.length} right, ${percent(answers.ended)} ended by themselves; ${wrong.slice(0, 3).join(', ')}`,
  );
  return answers;
}

/** From a seeded generator: a whole number below `count`. */
const below = (key: RandomKey, index: number, count: number) => Math.floor(randomUniform(key, index) * count);

/** `items` in the order of a seed. */
function shuffled<T>(items: readonly T[], key: RandomKey): T[] {
  const places = items.map((item, i) => ({ item, place: randomUniform(key, i) }));
  return places.sort((a, b) => a.place - b.place).map(({ item }) => item);
}

function writeRows(name: string, rows: readonly object[]): string {
  writeFileSync(join(folder(), name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return name;
}

const small = { dropout: 0, bias: false } as const;

describe('instructions: reverse a word, write it in capitals, count its letters', () => {
  const letters = 'abcdefghij';
  const instructions: Readonly<Record<string, (word: string) => string>> = {
    reverse: (word) => [...word].reverse().join(''),
    capital: (word) => word.toUpperCase(),
    letters: (word) => String(word.length),
  };
  const key = randomKey(0x1457);
  /** Distinct words of 3 or 4 different letters: with repeated ones, the steps below leave 4 % of the answers wrong. */
  const words: string[] = [];
  for (let i = 0; words.length < 4200; i++) {
    const own = extendKey(key, i);
    const word = Array.from(
      { length: 3 + below(own, 0, 2) },
      (_, at) => letters[below(own, at + 1, letters.length)],
    ).join('');
    if (!words.includes(word) && new Set(word).size === word.length) words.push(word);
  }
  const rowsOf = (some: readonly string[]) =>
    some.flatMap((word) =>
      Object.entries(instructions).map(([instruction, answerOf]) => ({
        instruction,
        input: word,
        output: answerOf(word),
      })),
    );
  const heldOut = rowsOf(words.slice(0, 200)).map(({ instruction, input, output }): Pair => {
    return { question: `${instruction}\n\n${input}`, answer: output };
  });
  const configOf = (maxSteps: number): ConfigInput => ({
    model: { ...small, nLayer: 4, nHead: 4, nEmbd: 128, blockSize: 18 },
    data: { tokenizer: 'char' },
    task: { kind: 'sft', template: 'plain' },
    train: { maxSteps, globalBatchSize: 64, microBatchSize: 64, seed: 1 },
    schedule: { learningRate: 2e-3, minLearningRate: 1e-5, warmupSteps: 50 },
    optimizer: { beta2: 0.99 },
  });
  const learn = (name: string, maxSteps: number) =>
    trained(name, configOf(maxSteps), writeRows(`${name}.jsonl`, rowsOf(words.slice(200))));

  nightlyIt('99 % of the answers about unseen words are right, and all end by themselves', async () => {
    const loaded = await learn('instructions', 600);
    const { exact, ended } = await ask(loaded, heldOut, 12);
    await loaded.engine.dispose();
    expect(exact).toBeGreaterThanOrEqual(0.99);
    expect(ended).toBe(1);
  });

  nightlyIt('without the end token among the targets, no answer ends', async () => {
    const original = (await import(built('task/sft.js'))) as typeof sft;
    vi.doMock(built('task/sft.js'), () => ({ ...original, sftTask: withoutEnd(original.sftTask) }));
    const loaded = await learn('mutant', 100);
    const { exact, ended } = await ask(loaded, heldOut, 12);
    await loaded.engine.dispose();
    expect(exact).toBe(0);
    expect(ended).toBe(0);
  });
});

/** The mutant: the last target of each row, the end token, becomes -1. */
function withoutEnd(sftTask: typeof sft.sftTask): typeof sft.sftTask {
  return (options) => {
    const task = sftTask(options);
    const encode: typeof task.encode = (example) => {
      const sample = task.encode(example);
      return { ...sample, targets: [...Array.from(sample['targets']!).slice(0, -1), -1] };
    };
    return { ...task, encode };
  };
}

describe('sorting', () => {
  const sorted = (digits: string) => [...digits].sort().join('');
  /** As in minGPT, sequences of few values occur more often: there are not many of them to learn from. */
  const oftenFew = (sequences: readonly string[]) =>
    sequences.flatMap((digits): string[] => Array(new Set(digits).size < 3 ? 3 : 1).fill(digits));
  const rowOf = (prompt: string) => ({ prompt, completion: sorted(prompt) });
  const questionOf = (question: string): Pair => ({ question, answer: sorted(question) });
  const configOf = (maxSteps: number, seed: number): ConfigInput => ({
    model: { bias: false, dropout: 0.1, nLayer: 3, nHead: 3, nEmbd: 48, blockSize: 32 },
    data: { tokenizer: 'char' },
    task: { kind: 'sft', template: 'plain' },
    train: { maxSteps, globalBatchSize: 64, microBatchSize: 64, seed },
    schedule: { learningRate: 2e-3, minLearningRate: 1e-5, warmupSteps: 50 },
    optimizer: { beta2: 0.99 },
  });

  nightlyIt("minGPT's demo: 6 digits of 3 values, on sequences that it has not seen", async () => {
    const all = Array.from({ length: 3 ** 6 }, (_, i) => i.toString(3).padStart(6, '0'));
    const order = shuffled(all, randomKey(0x50f7));
    const file = writeRows('sort.jsonl', oftenFew(order.slice(182)).map(rowOf));
    const loaded = await trained('sort', configOf(1200, 1), file);
    const { exact, ended } = await ask(loaded, order.slice(0, 182).map(questionOf), 12);
    await loaded.engine.dispose();
    expect(exact).toBeGreaterThanOrEqual(0.999);
    expect(ended).toBe(1);
  });

  nightlyIt('8 digits of 4 values, with three seeds, on 3,000 sequences each that it has not seen', async () => {
    const all = Array.from({ length: 4 ** 8 }, (_, i) => i.toString(4).padStart(8, '0'));
    const shares: number[] = [];
    for (const seed of [1, 2, 3]) {
      const order = shuffled(all, randomKey(0x50f7, seed));
      const file = writeRows(`sort-${seed}.jsonl`, oftenFew(order.slice(3000, 23_000)).map(rowOf));
      const loaded = await trained(`sort-${seed}`, configOf(1500, seed), file);
      const { exact, ended } = await ask(loaded, order.slice(0, 3000).map(questionOf), 12);
      await loaded.engine.dispose();
      shares.push(exact);
      expect(ended).toBe(1);
    }
    expect(Math.min(...shares)).toBeGreaterThanOrEqual(0.999);
  });
});

describe('copying and reversing 10 symbols of 10, by an encoder and a decoder', () => {
  const config: ConfigInput = {
    model: { architecture: 'encoderDecoder', encoderLayers: 2, nLayer: 2, nHead: 4, nEmbd: 64, blockSize: 16 },
    data: { tokenizer: 'char' },
    task: { kind: 'seq2seq' },
    train: { epochs: 6, globalBatchSize: 64, microBatchSize: 64, seed: 1 },
    schedule: { kind: 'linear', learningRate: 2e-3, minLearningRate: 0, warmupSteps: 100 },
    optimizer: { beta2: 0.98 },
  };
  /** Different sequences, so that none is in both parts. */
  const sequences = (key: RandomKey, count: number): string[] => {
    const found = new Set<string>();
    for (let i = 0; found.size < count; i++) {
      found.add(Array.from({ length: 10 }, (_, place) => below(key, 10 * i + place, 10)).join(''));
    }
    return [...found];
  };

  nightlyIt.each([
    ['copies', (digits: string) => digits, 1],
    ['reversals', (digits: string) => [...digits].reverse().join(''), 0.99],
  ] as const)('%s of 1,000 sequences that it has not seen', async (name, targetOf, least) => {
    const all = sequences(randomKey(0x5e95), 13_000);
    const rowsOf = (some: readonly string[]) => some.map((source) => ({ source, target: targetOf(source) }));
    const loaded = await trained(name, config, writeRows(`${name}.jsonl`, rowsOf(all.slice(1000))));
    expect(loaded.tokenizer.vocabSize).toBe(11);
    const test = rowsOf(all.slice(0, 1000)).map((row, i) => ({ row, at: `row ${i + 1}` }));
    const options = { template: undefined, cwd: folder(), measure: exactMatch, onProgress: () => undefined };
    const { exactMatch: share, endedShare } = await evaluateAnswers(loaded, test, options);
    await loaded.engine.dispose();
    note(`${name}: ${percent(share)} right, ${percent(endedShare)} ended by themselves`);
    expect(share).toBeGreaterThanOrEqual(least);
  });
});

const messages = join(packageRoot, '../shared/data/sms-spam.tsv');

describe('spam among text messages', () => {
  /** A label and a text, tab-separated as in the file. Texts that occur several times are left out, so that none is in both parts. */
  const readLines = (): string[] => {
    const byText = new Map<string, string>();
    for (const line of readFileSync(messages, 'utf8').trimEnd().split('\n'))
      byText.set(line.slice(line.indexOf('\t')), line);
    return [...byText.values()];
  };
  const config = (seed: number): ConfigInput => ({
    model: { bias: false, dropout: 0.2, nLayer: 2, nHead: 4, nEmbd: 64, blockSize: 128 },
    data: { tokenizer: 'bpe:1000', columns: ['label', 'text'] },
    task: { kind: 'classify', tooLong: 'truncatePrompt' },
    train: { epochs: 3, globalBatchSize: 32, microBatchSize: 32, seed },
    schedule: { learningRate: 1e-3, minLearningRate: 1e-5, warmupSteps: 50 },
  });

  /** Accuracy on the first `heldOut` lines of a model that learned from the others, and of naive Bayes. */
  async function accuracies(name: string, lines: readonly string[], heldOut: number, settings: ConfigInput) {
    const write = (part: string, some: readonly string[]) => {
      writeFileSync(join(folder(), `${name}-${part}.tsv`), `${some.join('\n')}\n`);
      return `${name}-${part}.tsv`;
    };
    const [test, rest] = [lines.slice(0, heldOut), lines.slice(heldOut)];
    const loaded = await trained(name, settings, write('train', rest));
    const paths = [write('test', test)];
    const rows = { paths, split: 'all', cwd: folder(), onNotice: note, onProgress: () => undefined } as const;
    const { accuracy, rows: count } = (await evaluateRows(loaded, rows)) as ClassesEvaluation;
    await loaded.engine.dispose();
    expect(count).toBe(heldOut);
    const bayes = naiveBayes(rest.map(rowOf));
    const baseline = test.map(rowOf).filter(({ text, label }) => bayes(text) === label).length / heldOut;
    note(
      `${name}: ${percent(accuracy)} of ${heldOut} right; naive Bayes ${percent(baseline)}, from ${rest.length} rows`,
    );
    return accuracy;
  }

  function rowOf(line: string): LabelledText {
    const tab = line.indexOf('\t');
    return { label: line.slice(0, tab), text: line.slice(tab) };
  }

  nightlyIt('a classifier from random weights, on 1,000 unseen messages, with three seeds', async (context) => {
    if (!existsSync(messages)) return context.skip(`${messages} is absent`);
    const results: number[] = [];
    for (const seed of [1, 2, 3]) {
      results.push(await accuracies(`spam-${seed}`, shuffled(readLines(), randomKey(seed)), 1000, config(seed)));
    }
    expect(mean(results)).toBeGreaterThanOrEqual(0.955);
  });
});

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}

function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b) / values.length;
}
