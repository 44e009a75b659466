/** A tiny model with a chat template. Untrained for it: its end token is the last of its vocabulary, and comes by chance. */
import { join } from 'node:path';
import { expect } from 'vitest';
import { withChatTemplate } from '../../../src/data/tokenizers/chatTemplate.ts';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import { continueText } from '../../../src/run/continueText.ts';
import { type LoadedModel, loadModel } from '../../../src/run/loadModel.ts';
import { builtInTemplates } from '../../../src/task/builtInTemplates.ts';
import { trainRun } from './trainedModel.ts';

export const chatBlockSize = 32;

/** Trains it for `step` steps in the folder `tiny` of `folder`; the caller disposes of its engine. */
export async function loadChatModel(folder: string, step = 5): Promise<LoadedModel> {
  const run = await trainRun(join(folder, 'tiny'), { steps: [step], model: { blockSize: chatBlockSize } });
  await run.dispose();
  const onWarning = (message: string) => expect.unreachable(message);
  const loaded = await loadModel({ path: 'tiny', cwd: folder, engine: { name: 'auto' }, onWarning });
  const characters = loaded.tokenizer.decode(Array.from({ length: loaded.tokenizer.vocabSize - 1 }, (_, id) => id));
  const tokenizer = await createTokenizer('char', characters, { endOfText: true });
  expect(tokenizer.vocabSize).toBe(loaded.tokenizer.vocabSize);
  return { ...loaded, tokenizer: withChatTemplate(tokenizer, builtInTemplates.plain) };
}

/** What follows a prompt up to the end token, and whether it came. Special tokens in the prompt count. */
export async function answerTo(
  loaded: LoadedModel,
  prompt: string,
  { seed, maxTokens }: { seed: number; maxTokens: number },
): Promise<{ text: string; isComplete: boolean }> {
  let all = '';
  const options = { seed, maxTokens, temperature: 1, topK: 0, topP: 1, specialTokens: true, ignoreEos: true };
  for await (const piece of continueText(loaded, { prompt, ...options })) all += piece;
  const [text = '', ...rest] = all.slice(prompt.length).split('<|endoftext|>');
  return { text, isComplete: rest.length > 0 };
}
