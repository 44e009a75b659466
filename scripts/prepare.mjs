// Run by npm as `prepare`: builds dist/, unless it is current already.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hashOf, isCurrent, makeStamped } from './outputStamp.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const sources = ['src', 'examples', 'scripts', 'package.json', 'package-lock.json'];
const configs = ['tsconfig.json', 'tsconfig.build.json', 'tsconfig.examples.json'];
const hash = hashOf(root, [...sources, ...configs], [process.version]);
const stamp = join(root, 'dist', 'build.stamp');
// node-gyp removes all of build/ when it compiles the engine anew, and the examples with it.
const outputs = [join(root, 'dist', 'cli', 'main.js'), join(root, 'build', 'examples')];

if (isCurrent(outputs, stamp, hash)) {
  // The commit may be another though the sources are the same, and `npm ci` has removed the links to the command.
  await import('./write-commit.mjs');
  await import('./finish-build.mjs');
} else {
  makeStamped(stamp, hash, () => {
    const { status } = spawnSync('npm', ['run', 'build:js'], {
      cwd: root,
      stdio: 'inherit',
      shell: process.platform === 'win32',
    });
    process.exitCode = status ?? 1;
    return status === 0;
  });
}
