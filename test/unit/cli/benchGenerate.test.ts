import { describe, expect, it } from 'vitest';
import yargs from 'yargs';
import { UserError } from '../../../src/base/errors.ts';
import { benchGenerateCommand } from '../../../src/cli/benchGenerate.ts';

const tiny = ['--set', 'model.nLayer=1', 'model.nHead=1', 'model.nEmbd=8', 'model.blockSize=8'];

async function run(...args: string[]): Promise<void> {
  await yargs(['generate', ...args])
    .command({ ...benchGenerateCommand, command: 'generate' })
    .fail(false)
    .parseAsync();
}

describe('launch bench generate', () => {
  it.each([
    { args: ['--precision', 'bf16'] },
    { args: ['--set', 'engine.precision=bf16'] },
    { args: ['--precision', 'bf16', '--checkpoint', 'runs/nowhere'] },
  ])('refuses another precision than that of generation: $args', async ({ args }) => {
    await expect(run(...args)).rejects.toThrow(UserError);
    await expect(run(...args)).rejects.toThrow('generation computes in float32, but engine.precision is bf16');
  });

  it.each([
    { args: ['--prompts', '2,6', '--tokens', '3'], message: 'a prompt of 6 tokens plus 3 more exceeds' },
    { args: ['--prompts', '8'], message: 'a prompt of 8 tokens plus 1 more exceeds' },
  ])('refuses what does not fit the context: $args', async ({ args, message }) => {
    await expect(run(...tiny, ...args)).rejects.toThrow(message);
    await expect(run(...tiny, ...args)).rejects.toThrow(UserError);
  });
});
