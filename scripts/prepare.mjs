// Builds dist/ and build/examples, unless they are current already. Run by npm as `prepare`, and by `npm run build`. Types are not checked
// here, which makes the install faster: `npm run check:static` does that.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { requireOf } from './buildTools.mjs';
import { hashOf, isCurrent, makeStamped } from './outputStamp.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const sources = ['src', 'examples', 'scripts', 'package.json', 'package-lock.json'];
const configs = ['tsconfig.json', 'tsconfig.build.json', 'tsconfig.examples.json'];
const hash = hashOf(root, [...sources, ...configs], [process.version]);
const stamp = join(root, 'dist', 'build.stamp');
// node-gyp removes all of build/ when it compiles the engine anew, and the examples with it.
const outputs = [join(root, 'dist', 'cli', 'main.js'), join(root, 'build', 'examples')];

const compilations = [
  ['-p', 'tsconfig.build.json'],
  ['-p', 'tsconfig.examples.json'],
  ['-p', 'src/dashboard/page', '--noEmit', 'false', '--outDir', 'dist'],
  ['-p', 'src/serve/page', '--noEmit', 'false', '--outDir', 'dist'],
];

if (isCurrent(outputs, stamp, hash)) await finish();
else {
  await makeStamped(stamp, hash, async () => {
    const tsc = join(dirname(requireOf('typescript', root).resolve('typescript/package.json')), 'bin', 'tsc');
    const codes = await Promise.all(compilations.map((options) => compile(tsc, options)));
    process.exitCode = codes.find((code) => code !== 0) ?? 0;
    if (process.exitCode === 0) await finish();
    return process.exitCode === 0;
  });
}

/** @returns the exit code */
function compile(tsc, options) {
  // `npm ci --omit=dev` installs no types of Node.js and WebGPU. They matter to what is declared, not to what runs.
  const types = existsSync(join(root, 'node_modules', 'typescript')) ? [] : ['--types', 'null'];
  const compiler = spawn(process.execPath, [tsc, ...options, '--noCheck', ...types], { cwd: root, stdio: 'inherit' });
  return new Promise((ended, failed) => {
    compiler.on('error', failed).on('close', (code) => ended(code ?? 1));
  });
}

/** Also where all is current: the commit may be another, and `npm ci` has removed the links to the command. */
async function finish() {
  await import('./write-commit.mjs');
  await import('./finish-build.mjs');
}
