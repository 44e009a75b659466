/** What a model with an encoder does for its users: targets of sources, alone and together, and clear refusals of all else. */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { evaluateOnRows } from '../../../src/cli/evaluateOnRows.ts';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import { beamSearch } from '../../../src/model/beamSearch.ts';
import { continueText, type TextOptions } from '../../../src/run/continueText.ts';
import { evaluateAnswers } from '../../../src/run/evaluateAnswers.ts';
import { evaluateChoices } from '../../../src/run/evaluateChoices.ts';
import { type AnswersEvaluation, evaluateRows } from '../../../src/run/evaluateRows.ts';
import { evaluateTokens } from '../../../src/run/evaluateTokens.ts';
import { type LoadedModel, loadModel } from '../../../src/run/loadModel.ts';
import { inputOf } from '../../../src/run/modelInput.ts';
import { mostLikelyTarget } from '../../../src/run/mostLikelyTarget.ts';
import { TrainedModel } from '../../../src/run/trainedModel.ts';
import { parseCompletionRequest } from '../../../src/serve/completionRequest.ts';
import { ModelServer } from '../../../src/serve/server.ts';
import { answersBleu } from '../../../src/task/bleu.ts';
import { exactMatch } from '../../../src/task/exactMatch.ts';
import { sequenceEnds, sourceTokens } from '../../../src/task/seq2seq.ts';
import { trainTranslator, translatorBlockSize, unseen, words } from './translator.ts';

let cwd: string;
let loaded: LoadedModel;
beforeAll(async () => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-translator-'));
  mkdirSync(join(cwd, 'run'));
  await trainTranslator(join(cwd, 'run'), 250);
  loaded = await loadModel({ path: 'run', cwd, engine: { name: 'native' }, onWarning: expect.unreachable });
});
afterAll(async () => {
  await loaded.engine.dispose();
  rmSync(cwd, { recursive: true });
});

const placed = (some: readonly string[]) =>
  some.map((word, i) => ({ row: { source: word, target: word }, at: `rows.jsonl:${i + 1}` }));
const sampling = { maxTokens: 8, temperature: 0, topK: 0, topP: 1, seed: 1 };

async function piecesOf(prompt: string, options: Partial<TextOptions> = {}): Promise<string[]> {
  const pieces: string[] = [];
  for await (const piece of continueText(loaded, { prompt, ...sampling, ...options })) pieces.push(piece);
  return pieces;
}

it('has learned to copy words that it has not seen, and to end them', async () => {
  const options = { template: undefined, cwd, measure: exactMatch, onProgress: () => undefined };
  const measured = await evaluateAnswers(loaded, placed(unseen), options);
  expect(measured).toEqual({ rows: 9, matches: 9, ended: 9, exactMatch: 1, endedShare: 1 });
});

it('writes the target of a prompt, alone, with and without a cache, and together with others', async () => {
  const [prompt, ...target] = await piecesOf('bad');
  expect([prompt, target.join('')]).toEqual(['bad', 'bad']);
  expect((await piecesOf('bad', { useCache: false })).slice(1).join('')).toBe('bad');
  expect((await piecesOf('bad', { maxTokens: 2 })).slice(1).join('')).toBe('ba');
  const model = new TrainedModel(loaded);
  expect(await model.translate([...unseen, 'bad', 'a'])).toEqual([...unseen, 'bad', expect.any(String)]);
  expect(await model.translate(['bad'], { maxTokens: 1 })).toEqual(['b']);
  let text = '';
  for await (const piece of model.generate('bad', { temperature: 0 })) text += piece;
  expect(text).toBe('bad');
});

it('finds targets with a beam search, each with the text of the best beam', async () => {
  const model = new TrainedModel(loaded);
  expect(await model.translate(unseen, { beams: 3 })).toEqual(unseen);
  const { begin, end } = sequenceEnds(loaded.tokenizer);
  const source = sourceTokens(loaded.tokenizer.encode('abcd'), { begin, end });
  const search = { source, begin, end, beams: 4, lengthPenalty: 2, maxTokens: translatorBlockSize };
  const [best] = await beamSearch(loaded.engine, loaded.model, search);
  expect(best!.tokens.at(-1)).toBe(end);
  const text = loaded.tokenizer.decode(best!.tokens.slice(0, -1));
  expect(await model.translate(['abcd'], { beams: 4, lengthPenalty: 2 })).toEqual([text]);
  expect(await mostLikelyTarget(loaded, { prompt: 'abcd', maxTokens: 8 }, { beams: 4, lengthPenalty: 2 })).toBe(text);
  expect(await mostLikelyTarget(loaded, { prompt: 'bad', maxTokens: 0 }, { beams: 2, lengthPenalty: 1 })).toBe('');
  const options = { template: undefined, cwd, measure: exactMatch, onProgress: () => undefined };
  const measured = await evaluateAnswers(loaded, placed(unseen), { ...options, beams: { beams: 2, lengthPenalty: 1 } });
  expect(measured).toMatchObject({ matches: 9, ended: 9 });
  await expect(model.translate(['a'], { beams: 0 })).rejects.toThrow('beams: expected a whole number from 1 to 64');
});

it('ends a target where the context is full', async () => {
  const text = (await piecesOf('bad', { ignoreEos: true, maxTokens: 100 })).slice(1).join('');
  expect(loaded.tokenizer.encode(text.replaceAll('<|endoftext|>', 'a'))).toHaveLength(translatorBlockSize);
});

it('evaluates rows and aligned text files alike, and their BLEU', async () => {
  writeFileSync(join(cwd, 'a.en'), `${unseen.join('\n')}\n`);
  writeFileSync(
    join(cwd, 'rows.jsonl'),
    placed(unseen)
      .map(({ row }) => `${JSON.stringify(row)}\n`)
      .join(''),
  );
  copyFileSync(join(cwd, 'a.en'), join(cwd, 'a.es'));
  const read = { split: 'val', cwd, onNotice: expect.unreachable, onProgress: () => undefined } as const;
  const [ofFiles, ofRows] = (await Promise.all(
    [['a.en', 'a.es'], ['rows.jsonl']].map((paths) => evaluateRows(loaded, { ...read, paths })),
  )) as [AnswersEvaluation, AnswersEvaluation];
  expect(ofFiles).toEqual(ofRows);
  expect(ofRows).toMatchObject({ rows: 9, targets: 36 });
  expect(ofRows.loss).toBeLessThan(0.1);
  const options = { template: undefined, cwd, onProgress: () => undefined };
  const { ended } = await evaluateAnswers(loaded, placed(words), { ...options, measure: answersBleu });
  expect(ended).toBe(64);
});

it('translates over HTTP as generate does, unless the request says otherwise', async () => {
  const limits = { batchMax: 8, queueMax: 8, modelName: 'copies', onWarning: expect.unreachable };
  const server = await ModelServer.open(loaded, { host: '127.0.0.1', port: 0, ...limits });
  const answerTo = async (request: object): Promise<Record<string, unknown>> => {
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(request) };
    const response = await fetch(`${server.urls.here}v1/completions`.replace('//v1', '/v1'), init);
    return (await response.json()) as Record<string, unknown>;
  };
  try {
    expect(await answerTo({ prompt: ['bad', 'cab'] })).toMatchObject({
      choices: ['bad', 'cab'].map((text) => ({ text, finish_reason: 'stop' })),
    });
    expect(await answerTo({ prompt: 'bad', echo: true })).toMatchObject({
      error: { message: expect.stringContaining('does not continue it; leave it out'), param: 'echo' },
    });
    expect(await answerTo({ prompt: '' })).toMatchObject({ error: { param: 'prompt' } });
  } finally {
    await server.close(0);
  }
  const { tokenizer } = loaded;
  const requested = (body: object, targets?: { sourceMax: number; targetMax: number }) =>
    parseCompletionRequest(body, {
      ...{ model: 'copies', tokenizer, vocabSize: tokenizer.vocabSize, endTokens: [], choicesMax: 1, targets },
      randomSeed: () => 1,
    }).choices[0];
  const targets = { sourceMax: 99, targetMax: 100 };
  expect(requested({ prompt: 'bad' }, targets)).toMatchObject({ temperature: 0, maxTokens: 100 });
  const given = { temperature: 0.5, max_tokens: 3 };
  expect(requested({ prompt: 'bad', ...given }, targets)).toMatchObject({ temperature: 0.5, maxTokens: 3 });
  expect(requested({ prompt: 'bad' })).toMatchObject({ temperature: 1, maxTokens: 16 });
});

it('names what translate expects', async () => {
  const translate = (sources: unknown) => new TrainedModel(loaded).translate(sources as string[]);
  await expect(translate('bad')).rejects.toThrow(
    'translate: expected an array of texts, received a string: put it into one, as in translate([text])',
  );
  await expect(translate(['bad', 5])).rejects.toThrow('translate: text 2: expected a string, received a number');
  await expect(translate(undefined)).rejects.toThrow('translate: expected an array of texts, received undefined');
  const notText = new TrainedModel(loaded).generate(5 as unknown as string);
  await expect(notText.next()).rejects.toThrow('generate: text 1: expected a string, received a number');
  await expect(translate(['bad', ' '])).rejects.toThrow('translate: text 2 is empty: expected a source');
});

it('refuses what it cannot do', async () => {
  const bytes = await createTokenizer('byte', '');
  const blank = bytes.encode(' \n');
  expect(() => inputOf({ model: loaded.model, tokenizer: bytes }, blank)).toThrow('the source is empty');
  const choices = { task: 'choices', data: 'rows.jsonl', beams: 1 } as Parameters<typeof evaluateOnRows>[1];
  await expect(evaluateOnRows(loaded, choices, { cwd, evaluator: undefined })).rejects.toThrow(
    /^--task choices compares continuations, .* use --task exact or bleu, or omit it$/,
  );
  await expect(piecesOf('abcdabcd')).rejects.toThrow(
    'the source has 8 tokens, but the model reads at most 7: shorten it',
  );
  const tokens = loaded.tokenizer.encode('abcd');
  await expect(evaluateTokens(loaded, [tokens])).rejects.toThrow(
    'the model needs a source, and does not continue texts',
  );
  const choice = [{ row: { context: 'a', endings: ['b', 'c'], label: 0 }, at: 'rows.jsonl:1' }];
  await expect(evaluateChoices(loaded, choice, () => undefined)).rejects.toThrow('the model needs a source');
  const options = { template: 'plain', cwd, measure: exactMatch, onProgress: () => undefined };
  await expect(evaluateAnswers(loaded, placed(['a']), options)).rejects.toThrow('template is for conversations');
  const long = placed(['abcdabcd']);
  await expect(evaluateAnswers(loaded, long, { ...options, template: undefined })).rejects.toThrow(
    'rows.jsonl:1: the source has 8 tokens, but the model reads at most 7.',
  );
});
