// Compiles the C++ engine with node-gyp. Run by `npm install`: there a failure is one line and not an error, since Lockstep
// also runs on the tfjs engine. `--strict` (npm run build:native) shows the compiler's output and fails.
import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const strict = process.argv.includes('--strict');
// npm tells its scripts where its own node-gyp is; outside of npm, `npx` finds one.
const gyp = process.env.npm_config_node_gyp;
const [command, args] = gyp ? [process.execPath, [gyp]] : ['npx', ['--yes', 'node-gyp']];

const build = spawnSync(command, [...args, 'rebuild', '--jobs', 'max'], {
  cwd: root,
  stdio: strict ? 'inherit' : 'pipe',
  encoding: 'utf8',
});
if (build.status !== 0) {
  if (strict) process.exit(build.status ?? 1);
  const reason =
    (build.error?.message ?? build.stderr ?? '')
      .split('\n')
      .find((line) => /not found|no such file|error|ERR!/i.test(line)) ?? '';
  process.stdout.write(
    `lockstep: the native engine was not compiled (it needs python3, make and a C++20 compiler); the slower tfjs engine will be used. ${reason.trim()}\n`,
  );
}
