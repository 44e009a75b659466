/**
 * What is published, as those have it who install it: the package that `npm run pack:release` packs, by file, in empty projects and for
 * all projects; its engine from a registry on this machine. No compiler is on the PATH. `library.test.ts` has what a program can do.
 */
import { execFile, execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { version } from '../../src/base/version.ts';
import { nightlyIt } from '../nightly.ts';
import { isNightly } from '../skippedTests.ts';
import { tiny } from './launch.ts';

const { sourcesHash } = createRequire(import.meta.url)('../../native/findAddon.cjs') as {
  sourcesHash(root: string): string;
};
const engine = `@lockstep/engine-${process.platform}-${process.arch}`;
const engineFile = `lockstep-engine-${process.platform}-${process.arch}-${version}.tgz`;

let folder: string;
let release: string;
let enginePackage: string;
let registry: Server;
let emptyRegistry: Server;
let env: Record<string, string>;

beforeAll(async () => {
  if (!isNightly) return;
  folder = mkdtempSync(join(tmpdir(), 'lockstep-packages-'));
  const packages = join(folder, 'packages');
  mkdirSync(packages);
  release = join(packages, `lockstep-${version}.tgz`);
  enginePackage = join(packages, engineFile);
  // Compiling takes minutes: a package of these sources will do.
  const packed = join(packageRoot, 'build', 'prebuilds', engineFile);
  if (sourcesOf(packed) === sourcesHash(packageRoot)) cpSync(packed, enginePackage);
  else npmRun('pack:engine', '--folder', packages);
  npmRun('pack:release', '--folder', packages);
  registry = await serveEngine();
  emptyRegistry = await listening(createServer((_, response) => response.writeHead(404).end('{}')));
  env = { ...withoutCompiler(), 'npm_config_@lockstep:registry': addressOf(registry) };
}, 1_800_000);
afterAll(() => {
  registry?.close();
  emptyRegistry?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

function npmRun(script: string, ...words: string[]): string {
  const stdout = execFileSync('npm', ['run', '-s', script, '--', ...words], {
    cwd: packageRoot,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return stdout.trim();
}

function manifestOf(file: string): { sources?: string } {
  return JSON.parse(execFileSync('tar', ['-xzOf', file, 'package/package.json'], { encoding: 'utf8' }));
}

function sourcesOf(file: string): string | undefined {
  return existsSync(file) ? manifestOf(file).sources : undefined;
}

/** Answers for the engine's package alone. */
async function serveEngine(): Promise<Server> {
  const tarball = readFileSync(enginePackage);
  const manifest = manifestOf(enginePackage);
  const server = createServer(({ url = '' }, response) => {
    const path = decodeURIComponent(url);
    if (path.endsWith('.tgz')) response.end(tarball);
    else if (path === `/${engine}`) {
      const dist = { tarball: `${addressOf(server)}/engine.tgz` };
      const versions = { [version]: { ...manifest, dist } };
      response.end(JSON.stringify({ name: engine, 'dist-tags': { latest: version }, versions }));
    } else response.writeHead(404).end('{}');
  });
  return await listening(server);
}

async function listening(server: Server): Promise<Server> {
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  return server;
}

function addressOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** An environment with Node, npm and what shell scripts need, and nothing that compiles. */
function withoutCompiler(): Record<string, string> {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  for (const tool of ['node', 'npm', 'npx', 'sh', 'env', 'git', 'tar', 'gzip']) {
    const path = execFileSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).trim();
    symlinkSync(path, join(bin, tool));
  }
  const { HOME = folder, NODE_EXTRA_CA_CERTS = '' } = process.env;
  return { PATH: bin, HOME, NODE_EXTRA_CA_CERTS, npm_config_cache: join(folder, 'cache') };
}

function newProject(name: string): string {
  const project = join(folder, name);
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), '{ "private": true }');
  return project;
}

const training = [...tiny, 'train.workers=1', 'train.maxSteps=2'];

/** Runs a command line to its end, in that environment alone: npm, which runs the tests, adds to this process' own. */
function run([command, ...words]: readonly string[], cwd: string, own: Record<string, string> = {}) {
  return new Promise<{ code: unknown; stdout: string; stderr: string }>((done) => {
    execFile(command!, words, { cwd, env: { ...env, ...own } }, (error, stdout, stderr) => {
      done({ code: error === null ? 0 : error.code, stdout, stderr });
    });
  });
}

nightlyIt(
  'a project that installs Lockstep has the prebuilt engine, and no warning, by import and by require',
  async () => {
    const project = newProject('prebuilt');
    const installed = await run(['npm', 'install', release], project);
    expect(installed.code, installed.stderr).toBe(0);
    const shown = await run(['npx', 'lockstep', '--version'], project);
    expect(shown.stdout).toMatch(new RegExp(`^lockstep ${version} .*engine native `));
    const trained = await run(['npx', 'lockstep', '--set', ...training], project);
    expect(trained.code, trained.stderr).toBe(0);
    expect(trained.stdout).toContain('engine native (cpu)');
    expect(trained.stderr).toBe('');
    const body = `const config = { data: { text: 'builtin' }, train: { workers: 1, maxSteps: 1 }, model: { nLayer: 1, nEmbd: 8, nHead: 1, blockSize: 8 }, sample: { maxTokens: 0 }, eval: { everySteps: 0 } };
train({ config, runDir: process.argv[2] }).then(({ engine }) => console.log(engine));`;
    writeFileSync(join(project, 'a.mjs'), `import { train } from 'lockstep';\n${body}`);
    writeFileSync(join(project, 'b.cjs'), `const { train } = require('lockstep');\n${body}`);
    for (const program of ['a.mjs', 'b.cjs']) {
      const said = await run(['node', program, `run-${program}`], project);
      expect(said).toEqual({ code: 0, stdout: 'native (cpu)\n', stderr: '' });
    }
  },
);

nightlyIt('the TypeScript project of the library guide checks and runs, in a project of npm init', async () => {
  const project = newProject('typescript');
  rmSync(join(project, 'package.json'));
  const page = readFileSync(join(packageRoot, 'docs', 'guide', 'library.md'), 'utf8');
  const blocks = (language: string) =>
    [...page.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))].map(([, text]) => text!);
  const [program = ''] = blocks('ts');
  const [tsconfig = ''] = blocks('json');
  const shorter = program.replace('maxSteps: 500', 'maxSteps: 2');
  expect(shorter).not.toBe(program);
  writeFileSync(join(project, 'guide.mts'), shorter);
  writeFileSync(join(project, 'tsconfig.json'), tsconfig);
  writeFileSync(join(project, 'input.txt'), 'To be, or not to be.\n'.repeat(500));
  const commands = blocks('sh')
    .flatMap((text) => text.trim().split('\n'))
    .map((line) => line.replace(/ +#.*/, ''));
  expect(commands).toEqual([expect.stringMatching(/^npm install /), 'npx tsc', 'npx tsx guide.mts']);
  let printed = '';
  for (const command of ['npm init -y', `npm install ${release}`, ...commands]) {
    const { code, stdout, stderr } = await run(command.split(' '), project);
    expect(code, `${command}: ${stdout}${stderr}`).toBe(0);
    printed = stdout;
  }
  expect(printed).toMatch(/^1 \d[\s\S]*^2 \d/m);
});

nightlyIt(
  'without the prebuilt engine and a compiler it is installed, and each run and program says what to do',
  async () => {
    const project = newProject('slow');
    const installed = await run(['npm', 'install', '--foreground-scripts', release], project, {
      'npm_config_@lockstep:registry': addressOf(emptyRegistry),
    });
    expect(installed.code, installed.stderr).toBe(0);
    expect(installed.stdout).toContain('the native engine was not compiled: not found: python3, make, a C++ compiler');
    const cure = new RegExp(
      `the package ${engine}, which has it compiled, is not installed\\. To get it: compile it with .npm rebuild lockstep --foreground-scripts.*npm install --include=optional`,
    );
    const trained = await run(['npx', 'lockstep', '--set', ...training], project);
    expect(trained.code, trained.stderr).toBe(0);
    expect(trained.stderr).toMatch(cure);
    const run0 = readdirSync(join(project, 'runs'))[0]!;
    const generated = await run(
      ['npx', 'lockstep', 'generate', '--checkpoint', `runs/${run0}`, '--max-tokens', '3'],
      project,
    );
    expect(generated.code, generated.stderr).toBe(0);
    expect(generated.stderr).toMatch(cure);
    const program = `import { loadCheckpoint } from 'lockstep'; await (await loadCheckpoint('runs/${run0}')).dispose();`;
    const library = await run(['node', '--input-type=module', '-e', program], project);
    expect(library.code).toBe(0);
    expect(library.stderr).toMatch(cure);
  },
);

nightlyIt('with --omit=optional and without a compiler it has no engine, and says what to do', async () => {
  const project = newProject('none');
  const installed = await run(['npm', 'install', '--omit=optional', release], project);
  expect(installed.code, installed.stderr).toBe(0);
  const shown = await run(['npx', 'lockstep', '--version'], project);
  expect(shown.stdout).toMatch(/engine none: `npx lockstep doctor` says how to get one\n$/);
  const trained = await run(['npx', 'lockstep', '--set', ...training], project);
  expect(trained.code).toBe(2);
  expect(trained.stderr).toMatch(/no engine is available: .*npm install --include=optional/);
  // The advice, taken.
  const advised = await run(['npm', 'install', '--include=optional'], project);
  expect(advised.code, advised.stderr).toBe(0);
  expect((await run(['npx', 'lockstep', '--version'], project)).stdout).toContain('engine native ');
});

nightlyIt('an engine of the same name and version that this release was not made with is not loaded', async () => {
  const project = newProject('stranger');
  expect((await run(['npm', 'install', release], project)).code).toBe(0);
  const file = join(project, 'node_modules', engine, 'lockstep_native.node');
  writeFileSync(file, Buffer.concat([readFileSync(file), Buffer.from([0])]));
  const shown = await run(['npx', 'lockstep', '--version'], project);
  expect(shown.stdout).toContain('engine tfjs');
});

nightlyIt('npm install -g, of the release and of a checkout: launch and lockstep are commands', async () => {
  const prefix = join(folder, 'global');
  const installed = await run(['npm', 'install', '-g', '--prefix', prefix, release], folder);
  expect(installed.code, installed.stderr).toBe(0);
  for (const name of ['launch', 'lockstep'])
    expect((await run([join(prefix, 'bin', name), '--version'], folder)).stdout).toContain('engine native ');
  const linked = join(folder, 'linked');
  const { code, stderr } = await run(['npm', 'install', '-g', '--prefix', linked, packageRoot], folder);
  expect(code, stderr).toBe(0);
  expect((await run([join(linked, 'bin', 'launch'), '--version'], folder)).stdout).toContain(`lockstep ${version}`);
});

nightlyIt(
  'the same sources give the same bytes',
  () => {
    const packed = npmRun('pack:engine', '--folder', join(folder, 'again'));
    expect(basename(packed)).toBe(engineFile);
    expect(readFileSync(packed).equals(readFileSync(enginePackage))).toBe(true);
  },
  1_800_000,
);

nightlyIt('engine:add takes the engine out of a package, and refuses one of other sources', async () => {
  const copy = join(folder, 'checkout');
  mkdirSync(copy);
  for (const name of ['native', 'binding.gyp', 'scripts', 'package.json'])
    cpSync(join(packageRoot, name), join(copy, name), { recursive: true });
  const added = await run(['npm', 'run', 'engine:add', enginePackage], copy);
  expect(added.stdout).toContain('the native engine is available (prebuilt)');
  const current = await run(['node', 'scripts/build-native.mjs'], copy);
  expect(current.stdout).toContain('the native engine is available (compiled)');
  writeFileSync(join(copy, 'native', 'new.h'), '');
  const refused = await run(['npm', 'run', '-s', 'engine:add', enginePackage], copy);
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain('was compiled from other sources than native/ has');
});

nightlyIt(
  'a clone that is installed with --omit=dev, without a compiler, builds and trains on a prebuilt engine',
  async () => {
    const clone = join(folder, 'clone');
    expect((await run(['git', 'clone', '--quiet', packageRoot, clone], folder)).code).toBe(0);
    const installed = await run(['npm', 'ci', '--omit=dev', '--omit=optional'], clone);
    expect(installed.code, installed.stderr).toBe(0);
    expect(installed.stdout).toContain('lockstep: installing what only the build needs: oxc-transform');
    expect((await run(['npm', 'run', 'engine:add', enginePackage], clone)).code).toBe(0);
    const trained = await run(['npx', 'launch', '--set', ...training], clone);
    expect(trained.code, trained.stderr).toBe(0);
    expect(trained.stdout).toContain('1 worker ready: native ');
    // Parts of packages that only the build needs.
    for (const part of ['fonts/LICENSE', 'bpeRanks/r50k_base.json'])
      expect(existsSync(join(clone, 'dist', part))).toBe(true);
  },
);
