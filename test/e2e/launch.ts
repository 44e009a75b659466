/** Runs the built command line as a user would, in a folder of its own, and knows every process that it started. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';

/** A failed test must not leave its run going. */
const running = new Set<ChildProcess>();

/** The link that `npx launch` takes: messages show commands with it. */
const entry = join(packageRoot, 'node_modules/.bin/launch');
/** What `npm run bench -- …` starts. */
export const bench: readonly string[] = [process.execPath, join(packageRoot, 'build/bench/bench/main.js')];

/** A model that takes a few milliseconds a step. */
export const tiny = [
  'data.text=builtin',
  'model.nLayer=2',
  'model.nHead=2',
  'model.nEmbd=32',
  'model.blockSize=32',
  'train.globalBatchSize=12',
  'train.microBatchSize=4',
  'train.hashEverySteps=1',
  'train.logEverySteps=1',
  'eval.everySteps=0',
  'sample.maxTokens=0',
];

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  /** Without progress (`encoding the text: 52 %, 2 s left`), which only a slow machine sees. */
  readonly stderr: string;
}

const progressLine = /^[\w ]+: \d+ %, \d+ s left\n/gm;

export interface Running {
  readonly process: ChildProcess;
  readonly finished: Promise<Finished>;
  /** Resolves with the match once standard output has it; rejects if the process ends before. */
  printed(pattern: RegExp): Promise<RegExpExecArray>;
  /** Pids of the processes that this command started and that still live. */
  descendants(): Promise<number[]>;
}

/**
 * Starts `launch ARGS…` in `cwd`, with what `env` adds to this process' environment.
 * @param within a command that runs the one that follows it, in its own place: `ip netns exec NAME`
 */
export function start(
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
  within: readonly string[] = [],
): Running {
  return startProgram([...within, process.execPath, entry, ...args], cwd, env);
}

/** Starts any program that uses Lockstep, the same way. */
export function startProgram(
  [command, ...words]: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): Running {
  const mark = `LOCKSTEP_TEST=${randomUUID()}`;
  const [name = '', value = ''] = mark.split('=');
  const child = spawn(command!, words, {
    cwd,
    env: { ...process.env, ...env, [name]: value, TMPDIR: cwd },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  const readers = new Set<() => void>();
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
    for (const read of readers) read();
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  running.add(child);
  const finished = new Promise<Finished>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      running.delete(child);
      resolve({ code, stdout, stderr: stderr.replaceAll(progressLine, '') });
    });
  });
  return {
    process: child,
    finished,
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const read = () => {
          const match = pattern.exec(stdout);
          if (match === null) return;
          readers.delete(read);
          resolve(match);
        };
        readers.add(read);
        read();
        void finished.then(() => reject(new Error(`ended without printing ${pattern}:\n${stdout}${stderr}`)));
      }),
    descendants: async () => (await processesWith(mark)).filter((pid) => pid !== child.pid),
  };
}

/** Runs `launch ARGS…` to its end. */
export async function launch(args: readonly string[], cwd: string): Promise<Finished & { orphans: number[] }> {
  const running = start(args, cwd);
  const result = await running.finished;
  return { ...result, orphans: await running.descendants() };
}

/** `--set` with these overrides, of each key the last. */
export function set(...overrides: readonly string[]): string[] {
  const keyOf = (override: string): string => override.split('=', 1)[0]!;
  return ['--set', ...new Map(overrides.map((override) => [keyOf(override), override])).values()];
}

export interface MetricsLine {
  readonly step: number;
  readonly loss?: number;
  readonly valLoss?: number;
  readonly valPerplexity?: number;
  readonly valBitsPerByte?: number;
  readonly valTargets?: number;
  readonly parameterHash?: string;
  readonly ranks?: readonly { rank: number }[];
}

export async function metricsOf(runDir: string): Promise<MetricsLine[]> {
  const text = await readFile(join(runDir, 'metrics.jsonl'), 'utf8');
  // A run that trains may be writing the last line.
  const complete = text.split('\n').slice(0, -1);
  return complete.map((line) => JSON.parse(line) as MetricsLine);
}

/** The losses of the training steps. */
export async function lossesOf(runDir: string): Promise<number[]> {
  return (await metricsOf(runDir)).flatMap(({ loss }) => (loss === undefined ? [] : [loss]));
}

/** A folder for the tests of a file, removed afterwards. */
export function useFolder(): () => string {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lockstep-e2e-'));
  });
  afterAll(async () => {
    for (const child of running) child.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true, maxRetries: 20 });
  });
  return () => folder;
}

/** Living processes with `mark` in their environment. */
async function processesWith(mark: string): Promise<number[]> {
  const pids: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const environment = await readFile(`/proc/${name}/environ`, 'utf8').catch(() => '');
    if (environment.split('\0').includes(mark)) pids.push(Number(name));
  }
  return pids;
}
