/** `launch eval --workers`: several processes give the numbers of one, to the bit, and none that is lost takes results with it. */
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { configSchema } from '../../src/config/schema.ts';
import { evaluateAnswers } from '../../src/run/evaluateAnswers.ts';
import { evaluateChoices } from '../../src/run/evaluateChoices.ts';
import { evaluateRows } from '../../src/run/evaluateRows.ts';
import { evaluateTokens } from '../../src/run/evaluateTokens.ts';
import type { Evaluator } from '../../src/run/evaluationParts.ts';
import { EvaluationPool } from '../../src/run/evaluationPool.ts';
import { type LoadedModel, loadModel } from '../../src/run/loadModel.ts';
import { exactMatch } from '../../src/task/exactMatch.ts';
import type { TaskKind } from '../../src/task/kinds.ts';
import { loadChatModel } from '../unit/run/chatModel.ts';
import { launch, useFolder } from './launch.ts';

const folder = useFolder();
const built = new URL('../../dist/run/evaluationWorkerMain.js', import.meta.url);
const dying = new URL('dyingEvaluation.mjs', import.meta.url);
const engine = { name: 'native', threads: 1 } as const;
const words = ['the cat', 'on the mat', 'as ever', 'the sat', 'a vet', 'the hem', 'a cat'];
const wordOf = (i: number) => words[(i * i) % 7]!;

/** Sees to it that the last share that is told is 1, and that shares only grow. */
function progress() {
  const shares: number[] = [];
  return { onProgress: (done: number) => void shares.push(done), shares };
}

async function rowsIn(loaded: LoadedModel, kind: TaskKind, rows: readonly object[], evaluator?: Evaluator) {
  const cwd = folder();
  const paths = [`${kind}.jsonl`];
  writeFileSync(join(cwd, paths[0]!), rows.map((row) => JSON.stringify(row)).join('\n'));
  const run = { ...loaded, runConfig: configSchema.parse({ data: { examples: 'x.jsonl' }, task: { kind } }) };
  const { onProgress, shares } = progress();
  const evaluation = await evaluateRows(run, { paths, split: 'val', cwd, onNotice: () => {}, onProgress, evaluator });
  expect(shares.at(-1)).toBeCloseTo(1, 12);
  expect(shares.toSorted((a, b) => a - b)).toEqual(shares);
  return evaluation;
}

it('gives the numbers of one process for a language model, while processes die and freeze', async () => {
  mkdirSync(folder(), { recursive: true });
  const own = await loadChatModel(folder());
  const loaded = {
    ...own,
    ...(await loadModel({ path: 'tiny', cwd: folder(), engine, onWarning: expect.unreachable })),
    tokenizer: own.tokenizer,
  };
  const tokens = Uint16Array.from({ length: 40_000 }, (_, i) => (i * i) % loaded.tokenizer.vocabSize);
  const at = (row: object, i: number) => ({ row: row as Record<string, unknown>, at: `row ${i}` });
  const pairs = Array.from({ length: 150 }, (_, i) => ({
    prompt: wordOf(i),
    chosen: `the ${wordOf(i + 1)}`,
    rejected: wordOf(i + 1),
  }));
  const questions = pairs.map(({ prompt, chosen }, i) => at({ prompt, completion: chosen }, i));
  const choices = pairs.map(({ prompt }, i) =>
    at({ ctx: prompt, endings: words.slice(0, 2 + (i % 3)), label: i % 2 }, i),
  );
  const all = async (evaluator?: Evaluator) => ({
    text: await evaluateTokens(loaded, [tokens, tokens.subarray(0, 999)], undefined, evaluator),
    lm: await rowsIn(
      loaded,
      'lm',
      pairs.map(({ chosen }) => ({ text: chosen })),
      evaluator,
    ),
    sft: await rowsIn(
      loaded,
      'sft',
      pairs.map(({ prompt, chosen }) => ({ prompt, completion: chosen })),
      evaluator,
    ),
    dpo: await rowsIn(loaded, 'dpo', pairs, evaluator),
    exact: await evaluateAnswers(loaded, questions, {
      measure: (_, answers) => ({ answers, ...exactMatch(_, answers) }),
      template: undefined,
      cwd: '.',
      onProgress: () => {},
      evaluator,
    }),
    choices: await evaluateChoices(loaded, choices, () => {}, evaluator),
  });
  const expected = await all();
  expect(expected.exact.rows).toBe(150);
  const warnings: string[] = [];
  const options = { path: loaded.checkpoint.path, engine, onWarning: (line: string) => void warnings.push(line) };
  for (const { workers, entry } of [
    { workers: 2, entry: built },
    { workers: 3, entry: dying },
  ]) {
    const pool = new EvaluationPool({ ...options, workers, entry });
    try {
      expect(await all(pool)).toEqual(expected);
    } finally {
      await pool.close();
    }
  }
  expect(warnings).toEqual([
    expect.stringMatching(/^process \d+ of the evaluation was killed by SIGKILL; 2 of 3 compute its share$/),
  ]);

  const lost = new EvaluationPool({ ...options, workers: 1, entry: dying });
  await expect(evaluateTokens(loaded, [tokens], undefined, lost)).rejects.toThrow('and no other is left');
  await lost.close();
  const broken = new EvaluationPool({ ...options, path: join(folder(), 'absent'), workers: 2, entry: built });
  await expect(evaluateTokens(loaded, [tokens], undefined, broken)).rejects.toThrow(/absent not found/);
  await broken.close();
  await Promise.all([own.engine.dispose(), loaded.engine.dispose()]);
});

it('gives the numbers of one process for models with labels, also from the command line', async () => {
  cpSync(join(packageRoot, 'test/fixtures/classifier'), folder(), { recursive: true });
  const labels = ['ham', 'spam', 'other'];
  const rowsOf = {
    classes: Array.from({ length: 150 }, (_, i) => ({ text: wordOf(i), label: labels[i % 3] })),
    reward: Array.from({ length: 150 }, (_, i) => ({
      prompt: wordOf(i),
      chosen: wordOf(i + 1),
      rejected: `${wordOf(i)} b`,
    })),
  };
  for (const [path, rows] of Object.entries(rowsOf)) {
    const file = `${path}.jsonl`;
    writeFileSync(join(folder(), file), rows.map((row) => JSON.stringify(row)).join('\n'));
    const evaluated = async (workers: string) => {
      const { code, stdout, stderr } = await launch(
        ['eval', '--checkpoint', path, '--data', file, '--engine', 'native', '--threads', '1', '--workers', workers],
        folder(),
      );
      expect(stderr).not.toContain('warning');
      expect(code).toBe(0);
      return stdout;
    };
    expect(await evaluated('2')).toBe(await evaluated('1'));
  }
});
