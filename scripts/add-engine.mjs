// npm run engine:add FILE.tgz: takes the engine of this platform out of a package that scripts/pack-engine.mjs made, and puts it where a
// compiler would have put it. For checkouts; elsewhere `npm install FILE.tgz` does.
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findInProcess } from './ownProcess.mjs';
import { unpack } from './unpack.mjs';

const { addonName, compiledPath, packageNameFor, sourcesHash } = createRequire(import.meta.url)(
  '../native/findAddon.cjs',
);
const root = dirname(dirname(fileURLToPath(import.meta.url)));
// npm runs its scripts in the package's folder, and says where it was called.
const file = process.argv[2] && resolve(process.env.INIT_CWD ?? '.', process.argv[2]);

const folder = mkdtempSync(join(tmpdir(), 'lockstep-engine-'));
try {
  const problem = file === undefined ? 'usage: npm run engine:add FILE.tgz' : add(file);
  if (problem === undefined) process.stdout.write('lockstep: the native engine is available (prebuilt)\n');
  else {
    process.stderr.write(`lockstep: ${problem}\n`);
    process.exitCode = 2;
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** @returns what is wrong with the file */
function add(path) {
  if (!existsSync(path)) return `${path} does not exist`;
  let content;
  try {
    content = unpack(path, folder);
  } catch (error) {
    return `${path} cannot be unpacked: ${String(error.stderr ?? error.message).split('\n')[0]}`;
  }
  const manifest = join(content, 'package.json');
  const { name, sources } = existsSync(manifest) ? JSON.parse(readFileSync(manifest, 'utf8')) : {};
  const wanted = packageNameFor();
  if (name !== wanted) return `${path} is the package ${name ?? '(none)'}; this platform needs ${wanted}`;
  if (sources !== sourcesHash(root))
    return `${path} was compiled from other sources than native/ has: take the package of this version, or compile with \`npm run build:native\``;
  // Not in place: processes may have the old file mapped.
  const target = compiledPath(root);
  const former = existsSync(target) ? `${target}.former` : undefined;
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(join(content, addonName), `${target}.new`);
  if (former) renameSync(target, former);
  renameSync(`${target}.new`, target);
  const { problems } = findInProcess(root);
  if (problems !== undefined) {
    rmSync(target);
    if (former) renameSync(former, target);
    return `${path}: ${problems[0]}`;
  }
  if (former) rmSync(former);
  return undefined;
}
