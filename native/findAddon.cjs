/**
 * Finds the compiled engine: what a compiler on this machine made in build/Release, else the prebuilt package of this platform. Used
 * by the loader (src/engine/native/addon.ts) and by the scripts that install and pack, which run before there is a dist/: hence
 * CommonJS, which both can load at once. As a program it prints the hash of the sources, for binding.gyp.
 */
const { createHash } = require('node:crypto');
const { existsSync, readdirSync, readFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { dirname, join } = require('node:path');

/** A scope has one owner: nobody else can publish under it. Whoever publishes Lockstep must own it. */
const scope = '@lockstep';
/** What a compiler makes, in a prebuilt package too. */
const addonName = 'lockstep_native.node';

/**
 * The package that holds the compiled engine of a platform.
 * @param {string} [platform] as `process.platform`
 * @param {string} [arch] as `process.arch`
 */
function packageNameFor(platform = process.platform, arch = process.arch) {
  return `${scope}/engine-${platform}-${arch}`;
}

/** Where a compiler on this machine puts the engine. */
function compiledPath(root) {
  return join(root, 'build', 'Release', addonName);
}

/**
 * A hash of all that the engine is compiled from. The addon has it compiled in, so one that was made from other sources is told from
 * one that is current, wherever it comes from. Line ends do not count: git writes others on Windows. Every start computes it: Node
 * reads files fastest as text, and lists folders fastest one by one.
 * @param {string} root the package's folder
 */
function sourcesHash(root) {
  const hash = createHash('sha256');
  for (const name of [...sourceFiles(root, 'native'), 'binding.gyp'].sort()) {
    const text = readFileSync(join(root, name), 'utf8').replaceAll('\r\n', '\n');
    hash.update(`${name} ${Buffer.byteLength(text)}\n${text}`);
  }
  return hash.digest('hex').slice(0, 32);
}

/** The C++ files below a folder, as paths from the root with slashes. */
function sourceFiles(root, folder) {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return sourceFiles(root, path);
    return /\.(cc|h)$/.test(path) ? [path] : [];
  });
}

/** @returns the hex SHA-256 of a file, as `packageHashes` of a release lists it */
function fileHash(file) {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

/** Whether this process runs on musl (Alpine Linux). Its dynamic loader is mapped into every process. */
function runsOnMusl() {
  try {
    return process.platform === 'linux' && /\/ld-musl-/.test(readFileSync('/proc/self/maps', 'utf8'));
  } catch {
    return false;
  }
}

/** A number that orders versions: 2.34 is 2,034,000. */
function versionNumber(version) {
  return [0, 1, 2].reduce((number, i) => 1000 * number + Number(version.split('.')[i] ?? 0), 0);
}

/** @returns the version of glibc that this process runs on; undefined if there is none */
function runningGlibc() {
  return process.platform === 'linux' ? process.report.getReport().header.glibcVersionRuntime : undefined;
}

function firstLine(error) {
  return String(error?.message ?? error).split('\n')[0];
}

/** Loads an addon file. @returns {{ addon: object } | { problem: string }} */
function load(file, name, hash) {
  let addon;
  try {
    addon = createRequire(__filename)(file);
  } catch (error) {
    return { problem: `${name} cannot be loaded: ${firstLine(error)}` };
  }
  return addon.sources === hash ? { addon } : { problem: fromOtherSources(name) };
}

function fromOtherSources(name) {
  return `${name} was compiled from other sources than native/ has now`;
}

/**
 * @param {string} root the package's folder
 * @param {{ musl?: boolean }} [system] for tests
 * @returns {{ addon: object, file: string, origin: 'compiled' | 'prebuilt' } | { problems: string[], isListed: boolean }} the first
 *   that is current and can be loaded; or why none is, in the order in which they were tried, and whether the package of this platform
 *   is among the optional dependencies
 */
function findAddon(root, { musl = runsOnMusl() } = {}) {
  const hash = sourcesHash(root);
  const problems = [];
  const compiled = compiledPath(root);
  if (existsSync(compiled)) {
    const { addon, problem } = load(compiled, `build/Release/${addonName}`, hash);
    if (addon) return { addon, file: compiled, origin: 'compiled' };
    problems.push(problem);
  }
  const own = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const prebuilt = findPrebuilt(root, own, hash, musl);
  if (prebuilt.addon) return { ...prebuilt, origin: 'prebuilt' };
  const isListed = packageNameFor() in (own.optionalDependencies ?? {});
  if (prebuilt.problem) problems.push(prebuilt.problem);
  else if (isListed) problems.push(`the package ${packageNameFor()}, which has it compiled, is not installed`);
  return { problems, isListed };
}

/** The engine of the prebuilt package, if one is installed; why it is not used, if it does not match. */
function findPrebuilt(root, own, hash, musl) {
  const name = packageNameFor();
  let manifest;
  try {
    manifest = createRequire(join(root, 'package.json')).resolve(`${name}/package.json`);
  } catch {
    return {};
  }
  const file = join(dirname(manifest), addonName);
  const { version, napi, sources, glibc } = JSON.parse(readFileSync(manifest, 'utf8'));
  if (version !== own.version)
    return { problem: `${name} is of version ${version}, Lockstep of version ${own.version}` };
  if (!(napi <= Number(process.versions.napi)))
    return { problem: `${name} needs Node-API ${napi}, newer than this Node has` };
  if (sources !== hash) return { problem: fromOtherSources(name) };
  if (musl) return { problem: `${name} is compiled for glibc, and this system has musl` };
  const there = glibc === undefined ? undefined : runningGlibc();
  if (there !== undefined && versionNumber(there) < versionNumber(glibc))
    return { problem: `${name} needs glibc ${glibc} or newer, and this system has ${there}` };
  // A release knows the engines that were built with it: a file that somebody else published under the name is not run.
  const expected = own.packageHashes?.[name];
  if (expected !== undefined && (!existsSync(file) || fileHash(file) !== expected))
    return { problem: `${name} has another file than this release was made with` };
  return { file, ...load(file, name, hash) };
}

module.exports = { addonName, compiledPath, fileHash, findAddon, packageNameFor, sourcesHash, versionNumber };

if (require.main === module) process.stdout.write(sourcesHash(dirname(__dirname)));
