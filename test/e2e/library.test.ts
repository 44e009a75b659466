/** Lockstep as a dependency of another package: an installed copy of what `npm pack` packs, beside its dependencies. */
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { version } from '../../src/base/version.ts';
import { lossesOf, startProgram, useFolder } from './launch.ts';

const folder = useFolder();
const text = join(packageRoot, 'ARCHITECTURE.md');

beforeAll(() => {
  const modules = join(folder(), 'node_modules');
  const installed = join(modules, 'lockstep');
  mkdirSync(installed, { recursive: true });
  const [{ filename }] = JSON.parse(
    execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder()], {
      cwd: packageRoot,
      encoding: 'utf8',
    }),
  );
  execFileSync('tar', ['xzf', join(folder(), filename), '--strip-components=1', '-C', installed]);
  // What its install script would compile.
  mkdirSync(join(installed, 'build'));
  cpSync(join(packageRoot, 'build', 'Release'), join(installed, 'build', 'Release'), { recursive: true });
  for (const name of readdirSync(join(packageRoot, 'node_modules'))) {
    if (name.startsWith('.')) continue;
    symlinkSync(join(packageRoot, 'node_modules', name), join(modules, name));
  }
  writeFileSync(join(folder(), 'package.json'), '{ "type": "module" }');
  cpSync(join(packageRoot, 'test/e2e/libraryProgram.mjs'), join(folder(), 'program.mjs'));
});

/** Runs a task of the program. It must say nothing but its result, end by itself, and leave nothing. */
async function run(task: string, runDir: string) {
  const program = startProgram([process.execPath, 'program.mjs', task, text, runDir], folder());
  const { code, stdout, stderr } = await program.finished;
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(await program.descendants()).toEqual([]);
  expect(stdout.trimEnd().split('\n')).toHaveLength(1);
  const result = JSON.parse(stdout);
  expect(result).toMatchObject({ left: [], handlersAdded: false });
  return result;
}

describe('train', () => {
  test('trains over two processes, tells its listener, and sums up', async () => {
    const { summary, told, ...rest } = await run('train', 'two');
    expect(rest.version).toBe(version);
    const runDir = join(folder(), 'two');
    const losses = await lossesOf(runDir);
    expect(losses).toHaveLength(6);
    expect(summary).toEqual({
      step: 6,
      stopped: false,
      engine: 'native (cpu)',
      best: { step: 6, valLoss: expect.any(Number) },
      runDir,
      loss: losses.at(-1),
      valLoss: expect.any(Number),
      checkpoint: join(runDir, 'checkpoints', 'step-00000006'),
    });
    expect(told).toContain('evaluated 3');
    expect(told).toContain('checkpoint 6');
    expect(told.filter((line: string) => line.startsWith('step'))).toHaveLength(6);
    expect(told.filter((line: string) => line.startsWith('warning'))).toEqual([]);
  });

  test('in one process: the same losses', async () => {
    const { summary } = await run('trainSingleProcess', 'one');
    expect(summary.step).toBe(6);
    expect(await lossesOf(join(folder(), 'one'))).toEqual(await lossesOf(join(folder(), 'two')));
  });

  test('continues a run, and names the best checkpoint of one that has ended', async () => {
    const { summary, told, finished } = await run('resume', 'one');
    expect(summary).toMatchObject({ step: 8, runDir: join(folder(), 'one') });
    expect(summary.best.step).toBeGreaterThan(0);
    expect(finished).toMatchObject({ step: 8, best: summary.best, checkpoint: summary.checkpoint });
    expect(told).toContainEqual(expect.stringMatching(/^note resuming .*step-00000006/));
  });

  test.each(['stop', 'stopSingleProcess'])('%s: a signal ends it in order, with a checkpoint', async (task) => {
    const { summary, again } = await run(task, task);
    expect(summary.stopped).toBe(true);
    expect(summary.step).toBeGreaterThanOrEqual(4);
    expect(summary.step).toBeLessThan(1_000);
    expect(summary.checkpoint).toMatch(new RegExp(`step-0*${summary.step}$`));
    expect(again.name).toBe('AbortError');
  });

  test.each(['fail', 'failSingleProcess'])('%s: throws what is wrong and leaves nothing', async (task) => {
    const result = await run(task, task);
    expect(result.listener).toMatchObject({ name: 'RangeError', message: 'the listener is broken' });
    expect(result.workers.message).toBe('workers: expected a whole number from 1 to 1024, received 0');
    expect(result.config).toMatchObject({
      isUser: true,
      message: expect.stringContaining('Did you mean model.nLayer?'),
    });
    expect(result.text).toMatchObject({ isUser: true, message: expect.stringContaining('absent.txt') });
    expect(result.madeNothing).toBe(true);
  });
});

test('a loaded model generates, alone and two texts at once, stops when told, and measures', async () => {
  const result = await run('model', 'two');
  expect(result.alone[0]).toHaveLength(50);
  expect(result.together).toEqual(result.alone);
  expect(result.aborted.name).toBe('TimeoutError');
  expect(result.evaluation.tokens).toBe('the cat sat on the mat'.length - 1);
  expect(result.evaluation.perplexity).toBeCloseTo(Math.exp(result.evaluation.loss), 6);
  expect(result.short.message).toContain('at least 2 tokens');
  expect(result.disposed.message).toContain('was disposed');
  expect(result.step).toBe(6);
});

test('its types are those of a strict TypeScript project, which need not skip those of libraries', () => {
  const program = `import { loadCheckpoint, train, type TrainSummary } from 'lockstep';
const summary: TrainSummary = await train({ config: { model: { nLayer: 2 } }, workers: 1 });
const model = await loadCheckpoint(summary.runDir);
for await (const piece of model.generate('a')) piece.toUpperCase();
// @ts-expect-error no such key
await train({ config: { model: { nLayers: 2 } } });
`;
  writeFileSync(join(folder(), 'typed.ts'), program);
  const tsc = join(packageRoot, 'node_modules', 'typescript', 'bin', 'tsc');
  const flags = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2023', '--types', 'node'];
  execFileSync(process.execPath, [tsc, ...flags, 'typed.ts'], { cwd: folder(), encoding: 'utf8' });
});

test('package.json of an installed copy can be read', () => {
  const path = join(folder(), 'node_modules/lockstep/package.json');
  expect(JSON.parse(readFileSync(path, 'utf8')).exports['.'].default).toBe('./dist/index.js');
});

test('require loads it; without a compiled engine train takes the prebuilt one, or warns of the slow one and says how to compile', async () => {
  const program = `const { loadConfig, train, UserError } = require('lockstep');
const keys = { model: { nLayer: 1, nHead: 1, nEmbd: 8, blockSize: 8 }, sample: { maxTokens: 0 }, eval: { everySteps: 0 } };
const config = { ...keys, data: { text: ${JSON.stringify(text)} }, train: { workers: 1, maxSteps: 1, globalBatchSize: 1, microBatchSize: 1 } };
train({ config, runDir: process.argv[2], singleProcess: true }).then(({ engine }) => console.log(JSON.stringify({ engine, is: typeof UserError, config: typeof loadConfig })));
`;
  writeFileSync(join(folder(), 'required.cjs'), program);
  const addon = join(folder(), 'node_modules/lockstep/build/Release/lockstep_native.node');
  renameSync(addon, `${addon}.away`);
  try {
    const { code, stdout, stderr } = await startProgram([process.execPath, 'required.cjs', 'slow'], folder()).finished;
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ engine: 'tfjs (wasm)', is: 'function', config: 'function' });
    expect(stderr).toMatch(
      /LockstepWarning: using the engine tfjs \(wasm\), many times slower: the native engine is not available/,
    );
    expect(stderr).toContain('compile it with `npm rebuild lockstep --foreground-scripts`');
    expect(stderr).not.toContain('ExperimentalWarning');

    const name = `@lockstep/engine-${process.platform}-${process.arch}`;
    const prebuilt = join(folder(), 'node_modules', name);
    cpSync(`${addon}.away`, join(prebuilt, 'lockstep_native.node'));
    const sources = execFileSync(process.execPath, [join(folder(), 'node_modules/lockstep/native/findAddon.cjs')], {
      encoding: 'utf8',
    });
    writeFileSync(join(prebuilt, 'package.json'), JSON.stringify({ name, version, napi: 8, sources }));
    const quick = await startProgram([process.execPath, 'required.cjs', 'quick'], folder()).finished;
    expect(JSON.parse(quick.stdout).engine).toBe('native (cpu)');
    expect(quick.stderr).toBe('');
  } finally {
    renameSync(`${addon}.away`, addon);
  }
});

test('without optional packages it trains with a published tokenizer, and says what to install for the rest', async () => {
  const modules = join(folder(), 'node_modules');
  const { optionalDependencies, devDependencies } = JSON.parse(
    readFileSync(join(modules, 'lockstep/package.json'), 'utf8'),
  );
  // A scope is one link.
  const names = Object.keys({ ...optionalDependencies, ...devDependencies }).map((name) => name.split('/')[0]!);
  const absent = [...new Set(names)].filter((name) => existsSync(join(modules, name)));
  expect(absent).toEqual(expect.arrayContaining(['@resvg', '@tensorflow', '@expo-google-fonts', 'gpt-tokenizer']));
  const keys = {
    model: { nLayer: 1, nHead: 1, nEmbd: 8, blockSize: 8 },
    sample: { maxTokens: 0 },
    eval: { everySteps: 0 },
  };
  const data = { text, tokenizer: 'gpt2' };
  const steps = { workers: 1, maxSteps: 2, globalBatchSize: 1, microBatchSize: 1 };
  const program = `import { train } from 'lockstep';
const config = ${JSON.stringify({ ...keys, data, train: steps })};
const { engine } = await train({ config, runDir: 'bare', singleProcess: true });
const error = await train({ config: { ...config, engine: { name: 'tfjs' } }, runDir: 'tfjs', singleProcess: true }).catch(String);
console.log(JSON.stringify({ engine, error }));
`;
  writeFileSync(join(folder(), 'bare.mjs'), program);
  for (const name of absent) rmSync(join(modules, name));
  try {
    const trained = await startProgram([process.execPath, 'bare.mjs'], folder()).finished;
    expect(trained.code, trained.stderr).toBe(0);
    expect(JSON.parse(trained.stdout)).toEqual({
      engine: 'native (cpu)',
      error: expect.stringMatching(/its packages are not installed.*npm install @tensorflow\/tfjs-core@/),
    });
    const main = join(modules, 'lockstep/dist/cli/main.js');
    const plotted = await startProgram([process.execPath, main, 'plot', 'bare', '--out', 'loss.png'], folder())
      .finished;
    expect(plotted.code).toBe(2);
    const version = optionalDependencies['@resvg/resvg-js'];
    expect(plotted.stderr).toContain(`resvg-js is not installed; run \`npm install @resvg/resvg-js@${version}\``);
  } finally {
    for (const name of absent) symlinkSync(join(packageRoot, 'node_modules', name), join(modules, name));
  }
});
