/** What the tests of runs whose workers come and go share: what such a run must have in its files, and when its steps came. */
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { launch, type Running, set, tiny } from '../e2e/launch.ts';

/** Samples of a step in the config that all these tests use. */
const globalBatchSize = 12;

/** Signs of life in quick succession. The model takes a few milliseconds a step. */
export function elastic(maxSteps: number, ...more: readonly string[]): string[] {
  const beats = ['comm.heartbeatIntervalMs=100', 'comm.heartbeatTimeoutMs=1500'];
  return [...tiny, `train.globalBatchSize=${globalBatchSize}`, `train.maxSteps=${maxSteps}`, ...beats, ...more];
}

export interface StepLine {
  readonly step: number;
  readonly loss: number;
  readonly term: number;
  readonly tokensPerSecond: number;
  readonly parameterHash?: string;
  readonly ranks: readonly { rank: number; sampleFrom: number; sampleCount: number }[];
}

export interface EventLine {
  readonly time: string;
  readonly event: string;
  readonly reason: string;
  readonly term: number;
  readonly step: number;
  readonly worker?: string;
}

/** The complete lines: the run may be writing another. */
async function linesOf<T>(path: string): Promise<T[]> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const whole = text.split('\n').slice(0, -1);
  return whole.map((line) => JSON.parse(line) as T);
}

/** The step lines of `metrics.jsonl`, in the order of the file. */
export async function stepsOf(runDir: string): Promise<StepLine[]> {
  return (await linesOf<StepLine>(join(runDir, 'metrics.jsonl'))).filter(({ loss }) => loss !== undefined);
}

/** The newest step line: of a long file it reads no more than the end. */
export async function lastStepOf(runDir: string): Promise<StepLine | undefined> {
  const file = await open(join(runDir, 'metrics.jsonl')).catch(() => undefined);
  if (file === undefined) return undefined;
  try {
    const { size } = await file.stat();
    const from = Math.max(0, size - 65_536);
    const end = (await file.read(Buffer.alloc(size - from), 0, size - from, from)).buffer.toString();
    const lines = end.split('\n').slice(from === 0 ? 0 : 1, -1);
    return lines.map((line) => JSON.parse(line) as StepLine).findLast(({ loss }) => loss !== undefined);
  } finally {
    await file.close();
  }
}

export function eventsOf(runDir: string): Promise<EventLine[]> {
  return linesOf<EventLine>(join(runDir, 'events.jsonl'));
}

/** The losses of a run of 4 workers to which nothing happens. */
export async function undisturbedLosses(
  overrides: readonly string[],
  cwd: string,
  name = 'undisturbed',
): Promise<number[]> {
  const result = await launch(['--workers', '4', '--run-dir', name, ...set(...overrides)], cwd);
  expect(result).toMatchObject({ code: 0, orphans: [] });
  return (await stepsOf(join(cwd, name))).map(({ loss }) => loss);
}

/** Every step once, in order, and of every step every sample once. */
export function expectWholeLedger(steps: readonly StepLine[], maxSteps: number): void {
  expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: maxSteps }, (_, i) => i + 1));
  for (const { step, ranks } of steps) {
    let next = 0;
    for (const { sampleFrom, sampleCount } of [...ranks].sort((a, b) => a.sampleFrom - b.sampleFrom)) {
      expect(sampleFrom, `first sample of a rank in step ${step}: ${JSON.stringify(ranks)}`).toBe(next);
      next += sampleCount;
    }
    expect(next, `samples of step ${step}: ${JSON.stringify(ranks)}`).toBe(globalBatchSize);
  }
}

/** The losses of the same steps differ by no more than the rounding of sums in another order. */
export function expectSameLosses(steps: readonly StepLine[], losses: readonly number[], relative: number): void {
  expect(steps).toHaveLength(losses.length);
  for (const { step, loss } of steps) {
    const expected = losses[step - 1]!;
    const difference = Math.abs(loss - expected) / expected;
    expect(difference, `loss of step ${step}: ${loss}, undisturbed ${expected}`).toBeLessThanOrEqual(relative);
  }
}

/** When each step line was seen on standard output, as `Date.now()`. Resolves steps that others wait for. */
export class StepClock {
  readonly seenMs = new Map<number, number>();
  readonly #waiting = new Set<() => void>();
  readonly #running: Running;
  #tail = '';

  constructor(running: Running) {
    this.#running = running;
    running.process.stdout?.on('data', (chunk: string) => this.#read(chunk));
  }

  get newest(): number {
    return Math.max(0, ...this.seenMs.keys());
  }

  /** Resolves when the line of `step` or of a later one has come; rejects if the run ends before. */
  reached(step: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (this.newest < step) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
      void this.#running.finished.then(({ stdout, stderr }) => {
        reject(new Error(`ended before step ${step}:\n${stdout}${stderr}`));
      });
    });
  }

  #read(chunk: string): void {
    const nowMs = Date.now();
    const lines = (this.#tail + chunk).split('\n');
    this.#tail = lines.pop() ?? '';
    for (const line of lines) {
      const step = /^step +(\d+)\/\d+ {2}loss /.exec(line)?.[1];
      if (step !== undefined && !this.seenMs.has(Number(step))) this.seenMs.set(Number(step), nowMs);
    }
    for (const look of [...this.#waiting]) look();
  }
}

/**
 * Resolves when `condition` holds, which nobody tells: asked again and again.
 * @param running rejects if this has ended before
 */
export async function until(condition: () => Promise<boolean> | boolean, running?: Running): Promise<void> {
  while (!(await condition())) {
    if (running !== undefined && (running.process.exitCode ?? running.process.signalCode) !== null) {
      const { code, stdout, stderr } = await running.finished;
      throw new Error(`ended with ${code}, and waited for something else:\n${stdout}${stderr}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Name and pid of each living worker process that the command has started. */
export async function workerPids(running: Running): Promise<Map<string, number>> {
  const workers = new Map<string, number>();
  for (const pid of await running.descendants()) {
    const [, , options = '{}'] = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
    const name = /"id":"([^"]+)"/.exec(options)?.[1];
    if (name !== undefined) workers.set(name, pid);
  }
  return workers;
}

/** Sends a signal to a process that may have ended. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has.
  }
}
