// Builds dist/ and build/examples, unless they are current already. Run by npm as `prepare`, and by `npm run build`. Types are not checked
// here, which makes the install faster: `npm run check:static` does that. `npm ci --omit=dev` leaves out the declarations (.d.ts) too.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { requireOf } from './buildTools.mjs';
import { hashOf, isCurrent, makeStamped } from './outputStamp.mjs';
import { transpile } from './transpile.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const sources = ['src', 'examples', 'scripts', 'package.json', 'package-lock.json'];
const configs = ['tsconfig.json', 'tsconfig.build.json'];
const typescript = join(root, 'node_modules', 'typescript');
const isTyped = existsSync(typescript);
const hash = hashOf(root, [...sources, ...configs], [process.version, isTyped]);
const stamp = join(root, 'dist', 'build.stamp');
// node-gyp removes all of build/ when it compiles the engine anew, and the examples with it.
const outputs = [join(root, 'dist', 'cli', 'main.js'), join(root, 'build', 'examples')];

if (isCurrent(outputs, stamp, hash)) await finish();
else {
  await makeStamped(stamp, hash, async () => {
    // Installed first: where that fails, no compiler may run on.
    const { transform } = requireOf('oxc-transform', root)('oxc-transform');
    const declared = isTyped ? declare() : 0;
    const errors = [];
    try {
      errors.push(...(await transpile(transform, join(root, 'src'), join(root, 'dist'))));
      errors.push(...(await transpile(transform, join(root, 'examples'), join(root, 'build', 'examples'))));
    } finally {
      await declared;
    }
    for (const error of errors) process.stderr.write(`${error}\n`);
    process.exitCode = errors.length > 0 ? 1 : await declared;
    if (process.exitCode === 0) await finish();
    return process.exitCode === 0;
  });
}

/** Writes the declarations, which programs that import the package are checked with. @returns the exit code */
function declare() {
  const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');
  const words = ['-p', 'tsconfig.build.json', '--emitDeclarationOnly', '--sourceMap', 'false', '--noCheck'];
  const compiler = spawn(process.execPath, [tsc, ...words], { cwd: root, stdio: 'inherit' });
  return new Promise((ended, failed) => {
    compiler.on('error', failed).on('close', (code) => ended(code ?? 1));
  });
}

/** Also where all is current: the commit may be another, and `npm ci` has removed the links to the command. */
async function finish() {
  await import('./write-commit.mjs');
  await import('./finish-build.mjs');
}
