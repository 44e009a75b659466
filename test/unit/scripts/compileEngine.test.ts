/** What a person sees while the engine compiles for minutes, with a node-gyp that does nothing but print. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

const path = '../../../scripts/compileEngine.mjs';
const { compileEngine, reasonOf } = (await import(path)) as {
  reasonOf(said: string): string;
  compileEngine(
    folder: string,
    options: {
      stream: { isTTY: boolean; write(text: string): void };
      onBegin?: (line: string) => void;
      args?: readonly string[];
      intervalMs?: number;
      logIntervalMs?: number;
    },
  ): Promise<{ status: number; said: string }>;
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-compile-'));
  mkdirSync(join(folder, 'build'));
  const objects = (...names: string[]) =>
    names.map((name) => `\t$(obj).target/$(TARGET)/native/${name}.o \\\n`).join('');
  writeFileSync(join(folder, 'build', 'kernels.target.mk'), `OBJS := \\\n${objects('gemm', 'adamw')}`);
  writeFileSync(join(folder, 'build', 'engine.target.mk'), `OBJS := \\\n${objects('addon')}`);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

/** Runs with a node-gyp that is this program. @returns all that was shown */
async function compile(
  program: string,
  isTTY: boolean,
  options: { onBegin?: (line: string) => void; logIntervalMs?: number } = {},
) {
  writeFileSync(join(folder, 'gyp.cjs'), program);
  vi.stubEnv('npm_config_node_gyp', join(folder, 'gyp.cjs'));
  let shown = '';
  const write = (text: string) => {
    shown += text;
    if (text.includes('file 2')) writeFileSync(join(folder, 'seen'), '');
  };
  const stream = { isTTY, write };
  const result = await compileEngine(folder, {
    stream,
    intervalMs: 10,
    ...options,
    args: ['--arch=x64'],
  });
  return { ...result, shown };
}

const cxx = (name: string) => `console.log('  CXX(target) Release/obj.target/kernels/native/${name}.o');`;
/** Prints the third file when the second has been shown. */
const inSteps = `${cxx('gemm')}${cxx('adamw')}
  const timer = setInterval(() => {
    if (!require('node:fs').existsSync('seen')) return;
    clearInterval(timer);
    ${cxx('addon')}
  }, 10);`;

it('a log has one line when the compiler begins, and none after a short time', async () => {
  const begun: string[] = [];
  const { status, shown } = await compile(cxx('gemm') + cxx('adamw'), false, {
    onBegin: (line) => begun.push(line),
  });
  expect(status).toBe(0);
  expect(shown).toBe('lockstep: compiling the native engine (3 files), which takes one to three minutes\n');
  expect(begun).toEqual([shown.trimEnd()]);
});

it('a log has a line from time to time after that', async () => {
  const { shown } = await compile(inSteps, false, { logIntervalMs: 10 });
  const [first, ...others] = shown.trimEnd().split('\n');
  expect(first).toMatch(/, which takes one to three minutes$/);
  expect(others).toContainEqual(expect.stringMatching(/^lockstep: compiling the native engine: file 2 of 3, \d+ s$/));
});

it('a terminal counts the files in one line, which is cleared at the end', async () => {
  const { shown } = await compile(inSteps, true);
  expect(shown).toMatch(/^\r/);
  expect(shown).toMatch(/\rlockstep: compiling the native engine: file 2 of 3, \d+ s /);
  expect(shown.endsWith('\r\x1b[K')).toBe(true);
  expect(shown).not.toContain('\n');
});

it('a compiler that fails shows nothing here: its exit code and its output are returned', async () => {
  const { status, said, shown } = await compile(
    "console.error('gyp ERR! no make', process.argv.slice(2)); process.exit(7);",
    true,
  );
  expect({ status, shown }).toEqual({ status: 7, shown: '' });
  expect(said).toContain("gyp ERR! no make [ 'rebuild', '--jobs', 'max', '--arch=x64' ]");
});

it.each([
  [
    'the headers of Node could not be downloaded. If this machine has them in /usr/local/include/node, set npm_config_nodedir=/usr/local',
    'gyp http GET https://example.org/headers\ngyp WARN install got an error, rolling back install\ngyp ERR! configure error\ngyp ERR! stack is related to network connectivity.',
  ],
  [
    "gemm.cc:1:5: error: 'x' was not declared",
    "make: Entering\ngemm.cc:1:5: error: 'x' was not declared\ngyp ERR! build error",
  ],
  ['gyp ERR! find Python', 'gyp info using node\ngyp ERR! find Python'],
  ['Killed', 'gyp info using node\nKilled'],
  ['', ''],
])('says why it failed: %s', (reason, said) => {
  expect(reasonOf(said)).toBe(reason);
});
