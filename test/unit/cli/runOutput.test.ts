import { readFile } from 'node:fs/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { conclude, currentOutput, print, warn } from '../../../src/cli/output.ts';
import { outputModeOf, withOutput } from '../../../src/cli/runOutput.ts';
import { wantsColor } from '../../../src/cli/terminal.ts';

afterEach(() => vi.restoreAllMocks());

it.each([
  [{}, true, {}, 'live'],
  [{}, false, {}, 'plain'],
  [{ plain: true }, true, {}, 'plain'],
  [{}, true, { TERM: 'dumb' }, 'plain'],
  [{}, true, { CI: 'true' }, 'plain'],
  [{}, true, { CI: 'false', TERM: 'xterm' }, 'live'],
  [{ quiet: true }, true, {}, 'quiet'],
  [{ json: true }, true, {}, 'json'],
] as const)('%o on a terminal (%s) with %o is shown %s', (args, isTTY, env, mode) => {
  expect(outputModeOf(args, isTTY, env)).toBe(mode);
});

it.each([
  [true, {}, true],
  [false, {}, false],
  [true, { NO_COLOR: '1' }, false],
  [true, { NO_COLOR: '' }, true],
  [false, { FORCE_COLOR: '1' }, true],
  [true, { FORCE_COLOR: '0' }, false],
  [true, { NO_COLOR: '1', FORCE_COLOR: '' }, true],
  [true, { TERM: 'dumb' }, false],
] as const)('a terminal (%s) with %o has colours: %s', (isTTY, env, colors) => {
  expect(wantsColor({ isTTY }, env)).toBe(colors);
});

/** What a command that prints each kind of line writes. */
async function written(mode: 'quiet' | 'json', command: () => Promise<number>) {
  const out: string[] = [];
  const err: string[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => out.push(String(text)) > 0);
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => err.push(String(text)) > 0);
  const code = await withOutput(mode, command).catch((error: Error) => error.message);
  vi.restoreAllMocks();
  return { out, err, code };
}

async function* pieces() {
  yield 'once ';
  yield 'upon';
}

const all = async () => {
  print('run x');
  warn('careful');
  await currentOutput().sample?.(pieces());
  conclude('done: x');
  return 0;
};

describe('where lines go', () => {
  it('quiet: warnings, and the last line', async () => {
    expect(await written('quiet', all)).toEqual({ out: ['done: x\n'], err: ['warning: careful\n'], code: 0 });
  });

  it('json: each as an object, and the exit code at the end', async () => {
    const { out, err } = await written('json', all);
    expect(out.map((line) => JSON.parse(line))).toEqual([
      { type: 'message', text: 'run x' },
      { type: 'warning', message: 'careful' },
      { type: 'sample', text: 'once upon' },
      { type: 'message', text: 'done: x' },
      { type: 'exit', code: 0 },
    ]);
    expect(err).toEqual([]);
  });

  it('json: an error is the last line, and is thrown on', async () => {
    const { out, code } = await written('json', async () => {
      throw new UserError('no such file');
    });
    expect(out.map((line) => JSON.parse(line))).toEqual([{ type: 'exit', code: 2, error: 'no such file' }]);
    expect(code).toBe('no such file');
    const failed = await written('json', () => readFile('/nowhere/a', 'utf8').then(() => 0));
    expect(failed.out.map((line) => JSON.parse(line))).toEqual([
      { type: 'exit', code: 1, error: 'cannot open /nowhere/a: there is no such file or folder (ENOENT)' },
    ]);
  });
});
