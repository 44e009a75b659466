/** The command that a run prints at its end is one that `launch` takes, with the run as the model. */
import { expect, it } from 'vitest';
import { runCommandLine } from '../../../src/cli/commandLine.ts';
import { useOf } from '../../../src/cli/train.ts';

it.each([
  ['lm', 'generate runs/none'],
  ['seq2seq', 'generate runs/none --prompt TEXT'],
  ['sft', 'chat runs/none'],
  ['dpo', 'chat runs/none'],
  ['grpo', 'chat runs/none'],
  ['ppo', 'chat runs/none'],
  // Its argument is the text.
  ['classify', 'classify TEXT --checkpoint runs/none'],
  ['reward', 'eval runs/none'],
] as const)('%s: launch %s', async (kind, printed) => {
  const { command } = useOf(kind, 'runs/none');
  expect(command.join(' ')).toBe(printed);
  // The parser takes it, with what `best validation loss` adds, and the run is the model that is missed.
  await expect(runCommandLine([...command, '--best'], '0')).rejects.toThrow(/^folder runs\/none not found/);
});
