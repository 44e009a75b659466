// Packs the compiled engine of one platform as a package of its own, build/prebuilds/lockstep-engine-PLATFORM-ARCH-VERSION.tgz, so
// that those who install Lockstep need no compiler. `--arch arm64` cross-compiles, with CC and CXX of that target in the
// environment; `--folder DIR` packs into another folder than build/prebuilds.
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compileEngine } from './compileEngine.mjs';
import { loadInProcess } from './ownProcess.mjs';

const { addonName, packageNameFor, sourcesHash, versionNumber } = createRequire(import.meta.url)(
  '../native/findAddon.cjs',
);
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { arch, folder: target } = parseArgs({
  options: {
    arch: { type: 'string', default: process.arch },
    folder: { type: 'string', default: join(root, 'build', 'prebuilds') },
  },
}).values;
const { platform } = process;
/**
 * What it may need of the system at most: Ubuntu 22.04, Debian 12, RHEL 9 and Amazon Linux 2023 have these or newer. libstdc++ is not
 * linked in: Node.js needs it as well, and the unwinder that comes along needs glibc 2.35.
 */
const most = { GLIBC: '2.34', GLIBCXX: '3.4.29', CXXABI: '1.3.13' };

const folder = mkdtempSync(join(tmpdir(), 'lockstep-prebuild-'));
try {
  const addon = await compile();
  const glibc = platform === 'linux' ? neededGlibc(addon) : undefined;
  if (arch === process.arch) check(addon);
  process.stdout.write(`${pack(addon, glibc)}\n`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** Beside the checkout, whose own build stays. */
async function compile() {
  for (const name of ['native', 'binding.gyp']) cpSync(join(root, name), join(folder, name), { recursive: true });
  const { CXXFLAGS = '', LDFLAGS = '' } = process.env;
  // No path of this machine is in it, and no symbol that nobody needs.
  const flags =
    platform === 'linux'
      ? {
          CXXFLAGS: `${CXXFLAGS} -ffile-prefix-map=${folder}=.`,
          LDFLAGS: `${LDFLAGS} -s`,
        }
      : {};
  // Standard output has the name of the package alone.
  const { status, said } = await compileEngine(folder, {
    args: [`--arch=${arch}`],
    env: { ...process.env, ...flags },
    stream: process.stderr,
  });
  if (status !== 0) {
    process.stderr.write(said);
    process.exit(status);
  }
  return join(folder, 'build', 'Release', addonName);
}

/** @returns the glibc that the file needs: `2.34` */
function neededGlibc(addon) {
  const text = execFileSync('readelf', ['--version-info', '--wide', addon], { encoding: 'utf8' });
  const newest = (library) => {
    const versions = [...text.matchAll(new RegExp(`\\b${library}_([\\d.]+)`, 'g'))].map(([, version]) => version);
    return versions.sort((a, b) => versionNumber(a) - versionNumber(b)).at(-1);
  };
  for (const [library, version] of Object.entries(most)) {
    const needed = newest(library) ?? '0';
    if (versionNumber(needed) > versionNumber(version))
      throw new Error(
        `the engine needs ${library} ${needed}: expected at most ${version}, so build it on an older system`,
      );
  }
  return newest('GLIBC');
}

/** That it can be loaded, and is of these sources. */
function check(addon) {
  const { sources, instructionSets } = loadInProcess(addon);
  if (sources !== sourcesHash(root)) throw new Error('the engine was compiled from other sources');
  process.stderr.write(`instruction sets here: ${instructionSets.join(', ')}\n`);
}

function pack(addon, glibc) {
  const { version, license, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const name = packageNameFor(platform, arch);
  const content = join(folder, 'package');
  mkdirSync(content);
  copyFileSync(addon, join(content, addonName));
  copyFileSync(join(root, 'LICENSE'), join(content, 'LICENSE'));
  const manifest = {
    name,
    version,
    description: `The compiled engine of Lockstep for ${platform} ${arch}`,
    license,
    engines,
    os: [platform],
    cpu: [arch],
    ...(glibc === undefined ? {} : { libc: ['glibc'] }),
    main: addonName,
    files: [addonName],
    // What native/findAddon.cjs looks at before it loads the file.
    napi: 8,
    sources: sourcesHash(root),
    ...(glibc === undefined ? {} : { glibc }),
  };
  writeFileSync(join(content, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  const needs = glibc === undefined ? '' : `It needs glibc ${glibc} or newer. `;
  writeFileSync(
    join(content, 'README.md'),
    `# ${name}\n\nThe C++ engine of Lockstep ${version}, compiled for ${platform} ${arch}. ${needs}It is an optional\ndependency of \`lockstep\` of the same version, and of no use without it.\n`,
  );
  mkdirSync(target, { recursive: true });
  const packed = execFileSync('npm', ['pack', '--json', '--pack-destination', resolve(target)], {
    cwd: content,
    encoding: 'utf8',
    shell: platform === 'win32',
  });
  const file = join(target, JSON.parse(packed)[0].filename);
  if (!existsSync(file)) throw new Error(`npm pack did not write ${file}`);
  return file;
}
