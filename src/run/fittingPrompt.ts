/** The prompt of the samples that a run writes while it trains. */
import { UserError } from '../base/errors.ts';
import type { Config } from '../config/configTypes.ts';
import type { RunData } from '../data/runData.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import type { RunMessages } from './messages.ts';

/**
 * Checks that the tokenizer knows the prompt for samples. If the user chose it, an error now is better than one hours later. A default
 * prompt is replaced by one from the data, and a run whose data has none writes no samples. Neither does a model that does not generate text.
 * @throws UserError for a prompt that the user chose and that the model cannot continue
 */
export function withFittingPrompt(
  config: Config,
  {
    tokenizer,
    opening,
    samplePrompt,
    labels = [],
    kind,
  }: Pick<RunData, 'tokenizer' | 'opening' | 'samplePrompt' | 'labels' | 'kind'>,
  { isChosen, note }: Pick<RunMessages, 'note'> & { isChosen: boolean },
): Config {
  const { sample } = config;
  if (sample.maxTokens === 0) return config;
  if (labels.length > 0) return { ...config, sample: { ...sample, maxTokens: 0 } };
  if (samplePrompt !== undefined && !isChosen) return { ...config, sample: { ...sample, prompt: samplePrompt } };
  const problem = promptProblem(sample.prompt, tokenizer);
  if (problem === undefined) return config;
  if (isChosen) throw new UserError(`sample.prompt${problem}. Set sample.maxTokens=0 for no sample.`);
  // The first word and the space before it.
  const prompts = [/^\s*\S+(?=\s)/u.exec(opening)?.[0], opening].filter((text) => text !== undefined);
  const prompt = prompts.find((text) => promptProblem(text, tokenizer) === undefined);
  if (prompt === undefined) {
    note(`the run writes no samples, because the default sample.prompt${problem}: choose another prompt for samples`);
    return { ...config, sample: { ...sample, maxTokens: 0 } };
  }
  const source = kind === 'text' ? 'the text, which lacks' : 'the examples, which lack';
  note(`samples continue ${JSON.stringify(prompt)} from ${source} characters of the default sample.prompt`);
  return { ...config, sample: { ...sample, prompt } };
}

/** Why the prompt cannot be continued, as text after its name; undefined if it can. */
function promptProblem(prompt: string, tokenizer: Tokenizer): string | undefined {
  try {
    return tokenizer.encode(prompt).length > 0 ? undefined : ' is empty: expected at least one character';
  } catch (error) {
    if (error instanceof UserError) return `: ${error.message.replace(/\.$/, '')}`;
    throw error;
  }
}
