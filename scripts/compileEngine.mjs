// Runs node-gyp, and shows how far it is: on a terminal a line that counts the files, else one at the beginning and every 30 seconds.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodeGyp } from './nodeGyp.mjs';

const what = 'lockstep: compiling the native engine';

/**
 * @param {string} folder has native/ and binding.gyp
 * @param {object} [options]
 * @param {readonly string[]} [options.args] for node-gyp, besides `rebuild`
 * @param {NodeJS.ProcessEnv} [options.env]
 * @param {NodeJS.WriteStream} [options.stream] where progress is shown
 * @param {(line: string) => void} [options.onBegin] is called with the line of the beginning too
 * @param {number} [options.intervalMs] between two updates of the line on a terminal
 * @param {number} [options.logIntervalMs] between two lines elsewhere, so that a log shows that the compiler still works
 * @returns {Promise<{ status: number, said: string, seconds: number }>} the exit code of node-gyp, and all that it printed
 */
export async function compileEngine(
  folder,
  { args = [], env = process.env, stream = process.stdout, onBegin, intervalMs = 1000, logIntervalMs = 30_000 } = {},
) {
  const [command, words] = nodeGyp();
  const began = Date.now();
  const seconds = () => Math.round((Date.now() - began) / 1000);
  const gyp = spawn(command, [...words, 'rebuild', '--jobs', 'max', ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    shell: process.platform === 'win32' && command === 'npx',
    env,
  });
  let said = '';
  let files = 0;
  let total;
  const show = () => {
    if (total === undefined) return;
    const line = `${what}: file ${files} of ${total}, ${seconds()} s`;
    stream.write(stream.isTTY ? `\r${line} \x1b[K` : `${line}\n`);
  };
  const hear = (text) => {
    said += text;
    files = said.match(/^ {2}CXX\(/gm)?.length ?? 0;
    if (files === 0 || total !== undefined) return;
    total = fileCount(join(folder, 'build'));
    const line = `${what} (${total} files), which takes one to three minutes`;
    if (!stream.isTTY) stream.write(`${line}\n`);
    onBegin?.(line);
  };
  for (const output of [gyp.stdout, gyp.stderr]) output.setEncoding('utf8').on('data', hear);
  const timer = setInterval(show, stream.isTTY ? intervalMs : logIntervalMs);
  const status = await new Promise((ended) => {
    gyp.on('error', ({ message }) => {
      said += message;
      ended(1);
    });
    gyp.on('close', (code) => ended(code ?? 1));
  });
  clearInterval(timer);
  if (stream.isTTY && total !== undefined) stream.write('\r\x1b[K');
  return { status, said, seconds: seconds() };
}

/** The number of files that the makefiles of node-gyp compile. */
function fileCount(build) {
  const makefiles = existsSync(build) ? readdirSync(build).filter((name) => name.endsWith('.target.mk')) : [];
  const objects = (name) => readFileSync(join(build, name), 'utf8').match(/^\t\$\(obj\)\.target\/.*\.o\b/gm) ?? [];
  return makefiles.reduce((count, name) => count + objects(name).length, 0);
}

/**
 * Why node-gyp failed, in one line.
 * @param {string} said all that it printed
 */
export function reasonOf(said) {
  if (/network connectivity|failed, reason:/.test(said)) {
    return 'the headers of Node could not be downloaded. If this machine has them in /usr/local/include/node, set npm_config_nodedir=/usr/local';
  }
  const lines = said.split('\n').filter((line) => !/^gyp (WARN|info|http)/.test(line));
  const reason = lines.find((line) => /not found|no such file|error|ERR!/i.test(line)) ?? lines.find(Boolean) ?? '';
  return reason.trim();
}
