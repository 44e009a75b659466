/** The help of every command fits a small terminal: 100 columns, and one screen. */
import { describe, expect, it } from 'vitest';
import { benches } from '../../../src/cli/bench.ts';
import { namesOf } from '../../../src/cli/commandEntry.ts';
import { commandLine, commands } from '../../../src/cli/commandLine.ts';

const columnsMax = 100;
const linesMax = 50;

const helps = [
  [],
  ...commands.map((entry) => namesOf(entry).slice(0, 1)),
  ['completion'],
  ...benches.map((entry) => ['bench', ...namesOf(entry)]),
].map((words) => ({ words, command: ['launch', ...words].join(' ') }));

const helpOf = async (words: readonly string[]) => (await commandLine(words, '')).getHelp();

describe('the help', () => {
  it.each(helps)('of $command fits a screen, and has an example', async ({ words }) => {
    const lines = (await helpOf(words)).split('\n');
    expect(lines.length).toBeGreaterThan(10);
    expect(lines.filter((line) => line.length > columnsMax)).toEqual([]);
    expect(lines.length).toBeLessThanOrEqual(linesMax);
    expect(lines.slice(lines.indexOf('Examples:') + 1)[0]).toMatch(/^ {2}npx lockstep\b/);
  });

  it('of launch shows the commands and the first options, of launch train all options', async () => {
    const [first, train] = [await helpOf([]), await helpOf(['train'])];
    for (const option of ['--config', '--workers', '--resume']) expect(first).toContain(option);
    expect(first).toContain('train --help');
    expect(first).not.toContain('--max-restarts');
    expect(train).toContain('--max-restarts');
    for (const entry of commands) expect(first).toContain(` ${namesOf(entry)[0]} `);
  });

  it('hides an option of launch without refusing it', async () => {
    const typed = ['--max-restarts', '3', '--dry-run'];
    const parser = (await commandLine(typed, '')).middleware((args) => {
      expect(args).toMatchObject({ maxRestarts: 3, dryRun: true });
      throw new Error('parsed');
    });
    await expect((async () => parser.parseAsync())()).rejects.toThrow('parsed');
  });
});
