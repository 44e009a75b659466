// Makes the C++ engine available. Run by `npm install` and `npm run build`: one that is current stays, compiled or prebuilt;
// else node-gyp compiles it. A failure is a message and not an error, since Lockstep also runs on the tfjs engine. `--strict`
// (npm run build:native) always compiles, shows the compiler's output and fails.
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compileEngine, reasonOf } from './compileEngine.mjs';
import { nodeGyp } from './nodeGyp.mjs';
import { findInProcess } from './ownProcess.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const strict = process.argv.includes('--strict');
const isDependency = basename(dirname(root)) === 'node_modules';
/** Whether npm hides what this script prints: for a dependency, and for `npx launch` in a checkout. */
const isHidden = isDependency || process.env.npm_command === 'exec';

const found = strict ? undefined : findInProcess(root).origin;
if (found !== undefined) process.stdout.write(`lockstep: the native engine is available (${found})\n`);
else if (strict) compileLoudly();
else await compile();

async function compile() {
  const absent = process.platform === 'win32' ? [] : missingTools();
  if (absent.length > 0) return fail(`not found: ${absent.join(', ')}`);
  const onBegin = isHidden ? (line) => tellTerminal(`${line}\n`) : undefined;
  const { status, said, seconds } = await compileEngine(root, { onBegin });
  if (status === 0) process.stdout.write(`lockstep: the native engine is compiled (${seconds} s)\n`);
  else fail(reasonOf(said));
}

function compileLoudly() {
  const [command, args] = nodeGyp();
  const { status } = spawnSync(command, [...args, 'rebuild', '--jobs', 'max'], {
    cwd: root,
    stdio: 'inherit',
    shell: process.platform === 'win32' && command === 'npx',
  });
  if (status === 0) process.stdout.write('lockstep: the native engine is compiled\n');
  else process.exit(status ?? 1);
}

/** What node-gyp would look for in vain, after two seconds. */
function missingTools() {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const isThere = (name) => name.includes('/') || folders.some((folder) => existsSync(join(folder, name)));
  const { CXX, PYTHON, npm_config_python: python = PYTHON } = process.env;
  const compilers = CXX === undefined ? ['c++', 'g++', 'clang++'] : [CXX.split(' ')[0]];
  return [
    ['python3', python === undefined ? ['python3', 'python'] : [python]],
    ['make', ['make', 'gmake']],
    ['a C++ compiler', compilers],
  ].flatMap(([what, names]) => (names.some(isThere) ? [] : [what]));
}

function fail(reason) {
  const cure = isDependency
    ? 'Install python3, make and a C++20 compiler, then run `npm rebuild lockstep --foreground-scripts`.'
    : 'Install python3, make and a C++20 compiler, then run `npm run build:native`; or add a prebuilt engine: `npm run engine:add FILE.tgz`.';
  const text = `lockstep: the native engine was not compiled: ${reason}. Training will use the tfjs engine, many times slower. ${cure}\n`;
  process.stdout.write(text);
  if (isHidden) tellTerminal(text);
}

/** Without this, someone who sits at a terminal would learn nothing until the first run. */
function tellTerminal(text) {
  if (process.env.npm_config_foreground_scripts === 'true' || process.env.npm_config_loglevel === 'silent') return;
  try {
    writeFileSync('/dev/tty', `\r${text}`);
  } catch {
    // No terminal: the first run says it.
  }
}
