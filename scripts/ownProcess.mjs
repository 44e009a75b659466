// Loads an engine in a process of its own: a file that was cut off may end the process that loads it, and Windows lets nobody
// remove a file that a process has loaded.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const finder = join(dirname(dirname(fileURLToPath(import.meta.url))), 'native', 'findAddon.cjs');

/**
 * What `findAddon` finds.
 * @param {string} root the package's folder
 * @returns {{ origin?: string, problems?: string[] }}
 */
export function findInProcess(root) {
  const program =
    'const { origin, problems } = require(process.argv[1]).findAddon(process.argv[2]); print({ origin, problems });';
  const { value, problem } = printedBy(program, finder, root);
  return value ?? { problems: [problem] };
}

/**
 * What an addon says of itself.
 * @param {string} file
 * @returns {{ sources: string, instructionSets: string[] }}
 * @throws if it cannot be loaded
 */
export function loadInProcess(file) {
  const program =
    'const addon = require(process.argv[1]); print({ sources: addon.sources, instructionSets: addon.instructionSets() });';
  const { value, problem } = printedBy(program, file);
  if (value === undefined) throw new Error(`${file}: ${problem}`);
  return value;
}

/** @returns {{ value: object } | { problem: string }} */
function printedBy(program, ...args) {
  const print = 'const print = (value) => process.stdout.write(JSON.stringify(value));';
  const { status, signal, stdout, stderr, error } = spawnSync(
    process.execPath,
    ['-e', `${print} ${program}`, ...args],
    {
      encoding: 'utf8',
    },
  );
  if (status === 0) return { value: JSON.parse(stdout) };
  const said = error?.message ?? stderr.split('\n').find((line) => /^\w*Error: /.test(line)) ?? '';
  return { problem: `the process that loaded it ended with ${signal ?? `exit code ${status}`}${said && `: ${said}`}` };
}
