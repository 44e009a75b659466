/** Multiple choice against log probabilities that are computed one sequence at a time, from all logits. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { tokenLogprobs } from '../../../src/model/logprobs.ts';
import { Tape } from '../../../src/model/tape.ts';
import { evaluateChoices } from '../../../src/run/evaluateChoices.ts';
import type { LoadedModel } from '../../../src/run/loadModel.ts';
import { chatBlockSize, loadChatModel } from './chatModel.ts';

let folder: string;
let loaded: LoadedModel;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-choices-'));
  loaded = await loadChatModel(folder, 20);
});
afterAll(async () => {
  await loaded.engine.dispose();
  rmSync(folder, { recursive: true });
});

const contexts = ['the cat', 'the cat sat', 'on', 'the cat sat on the mat as', 'cat', 'a', 'mat on'];
const endings = ['sat', 'mat on the', 'ever', 'then a tent'];
const rows = contexts.flatMap((ctx) => endings.map((_, label) => ({ ctx, endings, label })));
const evaluated = (given: readonly object[]) =>
  evaluateChoices(
    loaded,
    given.map((row, i) => ({ row: { ...row }, at: `rows.jsonl:${i + 1}` })),
    () => undefined,
  );

async function logprobOf(context: string, ending: string): Promise<number> {
  const { engine, model, tokenizer } = loaded;
  const [before, after] = [context, ` ${ending}`].map((text) => Array.from(tokenizer.encode(text))) as [
    number[],
    number[],
  ];
  const tokens = [...before, ...after].slice(-chatBlockSize - 1);
  const tape = new Tape(engine);
  const inputs = tape.upload(Int32Array.from(tokens.slice(0, -1)), [1, tokens.length - 1]);
  const logits = await tape.read(model.forward(tape, inputs));
  tape.discard();
  const { vocabSize } = model.config;
  const row = (at: number) => logits.subarray(at * vocabSize, (at + 1) * vocabSize);
  const first = tokens.length - after.length;
  return after.reduce((sum, token, i) => sum + tokenLogprobs(row(first + i - 1), token, 0).logprob, 0);
}

it('chooses as log probabilities of single sequences do, also for contexts that are too long', async () => {
  const chosen = { acc: 0, accNorm: 0 };
  for (const ctx of contexts) {
    const scores = await Promise.all(endings.map((ending) => logprobOf(ctx, ending)));
    const perByte = scores.map((score, k) => score / endings[k]!.length);
    const best = (values: number[]) => endings[values.indexOf(Math.max(...values))]!;
    const only = { ctx, endings };
    const labels = [best(scores), best(perByte)].map((ending) => endings.indexOf(ending));
    chosen.acc += (await evaluated([{ ...only, label: labels[0] }])).acc;
    chosen.accNorm += (await evaluated([{ ...only, label: String(labels[1]) }])).accNorm;
  }
  expect(chosen).toEqual({ acc: contexts.length, accNorm: contexts.length });
  // Over all labels each context is right once, together as alone.
  const shortened = rows.filter(({ ctx }) => endings.some((end) => ctx.length + 1 + end.length > chatBlockSize + 1));
  expect(await evaluated(rows)).toEqual({
    ...{ rows: rows.length, acc: 0.25, accNorm: 0.25, chance: 0.25 },
    shortened: shortened.length,
  });
  expect(shortened.length).toBeGreaterThan(0);
});

it('refuses an ending that is longer than the context, and unknown characters, with the place', async () => {
  const row = { ctx: 'the', endings: ['cat', 'cat '.repeat(10)], label: 0 };
  await expect(evaluated([row])).rejects.toThrow(
    `rows.jsonl:1: endings[1] has 41 tokens, but the model reads at most ${chatBlockSize}.`,
  );
  await expect(evaluated([{ ...row, endings: ['cat', 'Ж'] }])).rejects.toThrow('rows.jsonl:1: the text has characters');
});
