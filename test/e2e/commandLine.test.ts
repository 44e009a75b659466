/** What `launch` says of itself: its version, completion in a real bash, errors with their causes. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { version } from '../../src/base/version.ts';
import { launch, startProgram, useFolder } from './launch.ts';

const folder = useFolder();

it('--version names version, commit and engine', async () => {
  const { code, stdout } = await launch(['--version'], folder());
  expect(code).toBe(0);
  const isas = 'AMX|AVX-512 BF16|AVX-512|AVX2|NEON|scalar';
  expect(stdout).toMatch(
    new RegExp(
      `^lockstep ${version.replaceAll('.', '\\.')}( \\([0-9a-f]{7,}\\+?\\))?, engine (native (${isas})|tfjs wasm)\n$`,
    ),
  );
});

it('--help ends with the exit codes and the path of the guide', async () => {
  const { stdout } = await launch(['--help'], folder());
  const [, path] = /Exit codes: 0 success, 1 failure, 2 invalid input, .*130 interrupted.*\nGuide: (.+)\n$/.exec(
    stdout,
  )!;
  expect(existsSync(resolve(folder(), path!))).toBe(true);
});

it('guesses what was meant', async () => {
  const { code, stderr } = await launch(['trian'], folder());
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('Did you mean train?') });
  expect((await launch(['bench', 'step', '--stpes', '2'], folder())).stderr).toContain('Did you mean --steps?');
});

it('messages show commands as it was called, whatever its path and the names in them need for a shell', async () => {
  const place = join(folder(), "a clone's");
  mkdirSync(place);
  symlinkSync(join(packageRoot, 'dist/cli/main.js'), join(place, 'main.js'));
  const called = (program: string) =>
    startProgram([process.execPath, program, '--set', 'data.shards=no shards'], folder()).finished;
  const { stderr } = await called(join(place, 'main.js'));
  expect(stderr).toMatch(/make one with `node 'a clone'\\''s\/main\.js' prepare SOURCE .* --out '.*\/no shards'`/);
  expect((await called(join(packageRoot, 'node_modules/.bin/lockstep'))).stderr).toMatch(
    /^lockstep: .* `npx lockstep prepare SOURCE/,
  );
  expect((await launch(['trian'], folder())).stderr).toContain('See npx launch --help');
});

it('--debug shows where an error came from', async () => {
  const args = ['--config', 'nowhere.yaml'];
  expect((await launch(args, folder())).stderr).not.toMatch(/\n {4}at /);
  expect((await launch([...args, '--debug'], folder())).stderr).toMatch(
    /^launch: UserError: config "nowhere.yaml"[\s\S]*\n {4}at /,
  );
});

const hasBash = spawnSync('bash', ['-c', '(( BASH_VERSINFO[0] >= 4 ))']).status === 0;
describe.skipIf(!hasBash)('completion in bash', () => {
  beforeAll(() => {
    mkdirSync(join(folder(), 'bin'), { recursive: true });
    mkdirSync(join(folder(), 'runs/mine'), { recursive: true });
    const command = join(folder(), 'bin/launch');
    writeFileSync(command, `#!/bin/sh\nexec '${process.execPath}' '${join(packageRoot, 'dist/cli/main.js')}' "$@"\n`);
    chmodSync(command, 0o755);
  });

  /** What bash offers at the end of a command line. */
  function offered(...words: string[]): string[] {
    const script = `source <(launch completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _launch_yargs_completions; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const env = { ...process.env, PATH: `${join(folder(), 'bin')}${delimiter}${process.env['PATH']}` };
    const { stdout } = spawnSync('bash', ['-c', script, 'bash', ...words], { cwd: folder(), env, encoding: 'utf8' });
    return stdout.trimEnd().split('\n');
  }

  it.each([
    [['launch', 'ge'], ['generate']],
    [['launch', '--max'], ['--max-restarts']],
    [['launch', 'train', '--max'], ['--max-restarts']],
    [['launch', 'join', '--k'], ['--key']],
    [['launch', 'bench', 'sc'], ['scaling']],
    [['launch', '--config', 'quick'], ['quickstart']],
    [['launch', '--resume', ''], ['runs/mine']],
    [['launch', '--set', 'train.maxS'], ['train.maxSteps=']],
  ])('offers for %o: %o', (words, values) => {
    expect(offered(...words)).toEqual(values);
  });
});

it('prints a script for zsh', async () => {
  expect((await launch(['completion', 'zsh'], folder())).stdout).toMatch(/^#compdef launch\n/);
});
