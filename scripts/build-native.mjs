// Compiles the C++ engine with node-gyp. Run by `npm install`: there a failure is one line and not an error, since Lockstep
// also runs on the tfjs engine, and an addon that is current stays. `--strict` (npm run build:native) always compiles, shows the
// compiler's output and fails.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hashOf, isCurrent, makeStamped } from './outputStamp.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const strict = process.argv.includes('--strict');
// npm tells its scripts where its own node-gyp is; outside of npm, `npx` finds one.
const gyp = process.env.npm_config_node_gyp;
const [command, args] = gyp ? [process.execPath, [gyp]] : ['npx', ['--yes', 'node-gyp']];

const compiler = spawnSync(process.env.CXX ?? 'c++', ['--version'], { encoding: 'utf8' }).stdout ?? '';
const { platform, arch, versions, env } = process;
const flags = [env.CXX, env.CXXFLAGS, env.CPPFLAGS, env.LDFLAGS].map((value) => value ?? '');
const hash = hashOf(root, ['native', 'binding.gyp'], [platform, arch, versions.modules, compiler, ...flags]);
const addon = join(root, 'build', 'Release', 'lockstep_native.node');
const stamp = `${addon}.stamp`;

if (!strict && isCurrent([addon], stamp, hash)) {
  process.stdout.write('lockstep: the native engine is compiled already\n');
} else {
  makeStamped(stamp, hash, compile);
}

/** @returns whether it did */
function compile() {
  const build = spawnSync(command, [...args, 'rebuild', '--jobs', 'max'], {
    cwd: root,
    stdio: strict ? 'inherit' : 'pipe',
    encoding: 'utf8',
  });
  if (build.status === 0) {
    process.stdout.write('lockstep: the native engine is compiled\n');
    return true;
  }
  if (strict) process.exit(build.status ?? 1);
  const reason =
    (build.error?.message ?? build.stderr ?? '')
      .split('\n')
      .find((line) => /not found|no such file|error|ERR!/i.test(line)) ?? '';
  process.stdout.write(
    `lockstep: the native engine was not compiled (it needs python3, make and a C++20 compiler); the slower tfjs engine will be used. ${reason.trim()}\n`,
  );
  return false;
}
