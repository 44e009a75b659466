/** Targets begin with the token that the model was trained with, in training, evaluation and generation. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { configSchema } from '../../../src/config/schema.ts';
import { byteTokenizer } from '../../../src/data/tokenizers/trainTokenizer.ts';
import { beamSearch } from '../../../src/model/beamSearch.ts';
import { Trainer } from '../../../src/model/training.ts';
import { answersTo } from '../../../src/run/answers.ts';
import type { LoadedModel } from '../../../src/run/loadModel.ts';
import type { RunMessages } from '../../../src/run/messages.ts';
import { inputOf } from '../../../src/run/modelInput.ts';
import { openRunData } from '../../../src/run/openRunData.ts';
import { openRowsToEvaluate } from '../../../src/run/rowsToEvaluate.ts';
import { Float64Engine } from '../../parity/model/float64Engine.ts';
import { tinyEncoderDecoder, translation } from '../../parity/model/sourceBatches.ts';

const tokenizer = byteTokenizer();
const end = tokenizer.endOfText!;
const silent: RunMessages = { note: () => {}, warn: () => {}, progress: () => () => {} };

it.each([
  { beginToken: -1, begin: end },
  { beginToken: 7, begin: 7 },
])('beginToken $beginToken: targets begin with $begin', async ({ beginToken, begin }) => {
  const model = { ...tinyEncoderDecoder, blockSize: 64, vocabSize: tokenizer.vocabSize, beginToken };
  const loaded = { model: { config: model }, tokenizer } as unknown as LoadedModel;
  expect(inputOf(loaded, tokenizer.encode('one'))).toEqual({
    prompt: [begin],
    source: [...tokenizer.encode('one'), end],
  });

  const cwd = mkdtempSync(join(tmpdir(), 'lockstep-begin-'));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  writeFileSync(join(cwd, 'rows.jsonl'), '{"source": "one", "target": "uno"}\n'.repeat(4));
  const config = configSchema.parse({
    model,
    data: { examples: 'rows.jsonl', tokenizer: 'byte' },
    task: { kind: 'seq2seq' },
    eval: { everySteps: 0 },
  });
  const data = await openRunData(config, { cwd, tokenizer: undefined, messages: silent });
  const { seed, globalBatchSize, epochs } = config.train;
  const samples = data.training({ seed, globalBatchSize, epochs, blockSize: 64, sampler: config.data.sampler });
  const { tokens, targets } = samples.batch(0).arrays as Record<string, { data: Int32Array }>;
  expect(tokens!.data[0]).toBe(begin);
  expect([...targets!.data]).toContain(end);

  const onNotice = () => undefined;
  const evaluated = await openRowsToEvaluate(loaded, { paths: ['rows.jsonl'], split: 'all', cwd, onNotice });
  expect(evaluated.samples.map((sample) => sample['tokens']![0])).toEqual([begin, begin, begin, begin]);
});

it('starts a search for targets too', async () => {
  const config = { ...tinyEncoderDecoder, vocabSize: tokenizer.vocabSize, beginToken: 7 };
  const { engine, model } = new Trainer(new Float64Engine(), config, { seed: 1, objective: translation });
  const loaded = { engine, model, tokenizer };
  const read = tokenizer.encode('one');
  const most = { beams: 2, lengthPenalty: 1 };
  const textFrom = async (begin: number): Promise<string> => {
    const search = { source: [...read, end], begin, end, ...most, maxTokens: config.blockSize };
    const [best] = await beamSearch(engine, model, search);
    return tokenizer.decode(best!.tokens.filter((token) => token !== end));
  };
  const options = { loaded, endTokens: [end], onDone: () => undefined, beams: most };
  const [answer] = await answersTo([[...read]], options);
  expect(answer!.text).toBe(await textFrom(7));
  expect(answer!.text).not.toBe(await textFrom(end));
});

it('is a token of the model', () => {
  const parsed = configSchema.safeParse({ model: { ...tinyEncoderDecoder, beginToken: 23 } });
  expect(parsed.error?.issues.map(({ message }) => message).join()).toContain('must be less than');
});
