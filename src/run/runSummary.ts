/** What a list of runs says of each: read from what it left in its directory, without a checkpoint and without an engine. */
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { loadConfig } from '../config/load.ts';
import { parseLine } from '../records/runLines.ts';
import type { RunFolder } from './runFolder.ts';

/**
 * training: a process has it; finished: it came to its last step; stopped: it ended in order before that; failed; killed: it ended
 * without a word.
 */
export type RunStatus = 'training' | 'finished' | 'stopped' | 'failed' | 'killed';

export interface RunSummary {
  /** The last part of its path. */
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  readonly status: RunStatus;
  /** Updates that metrics.jsonl has. */
  readonly step: number;
  /** Undefined where its config cannot be read. */
  readonly maxSteps: number | undefined;
  /** The loss of its last step, in nats; undefined before the first. */
  readonly loss: number | undefined;
  /** The lowest validation loss, in nats, and its step; undefined where it was never evaluated. */
  readonly best: { readonly step: number; readonly valLoss: number } | undefined;
  /** Of all files in its directory. */
  readonly bytes: number;
  /** When a step was last written down. ISO 8601. */
  readonly date: string;
}

/** @throws the system's error for files that cannot be read */
export async function summarise(folder: RunFolder, cwd: string): Promise<RunSummary> {
  const { last, best } = await readMetrics(folder.metricsPath);
  const { mtime } = await stat(folder.metricsPath);
  const maxSteps = maxStepsOf(folder, cwd);
  const step = last?.step ?? 0;
  return {
    name: basename(folder.path),
    path: folder.path,
    status: (await folder.isInUse())
      ? 'training'
      : statusOf(await lastEvent(folder.eventsPath), step < (maxSteps ?? 0)),
    step,
    maxSteps,
    loss: last?.loss,
    best,
    bytes: await bytesIn(folder.path),
    date: mtime.toISOString(),
  };
}

async function readMetrics(path: string) {
  let last: { step: number; loss: number } | undefined;
  let best: RunSummary['best'];
  // The last may be torn.
  let stepLines: string[] = [];
  for await (const text of linesOf(path)) {
    // Of a long run the step lines are many, and only the last counts.
    if (!text.includes('"valLoss"')) {
      stepLines = [...stepLines.slice(-1), text];
      continue;
    }
    const parsed = parseLine(text);
    if (parsed?.kind !== 'validation') continue;
    const { step, valLoss } = parsed.line;
    if (valLoss < (best?.valLoss ?? Number.POSITIVE_INFINITY)) best = { step, valLoss };
  }
  for (const text of stepLines) {
    const parsed = parseLine(text);
    if (parsed?.kind === 'step') last = { step: parsed.line.step, loss: parsed.line.loss };
  }
  return { last, best };
}

async function lastEvent(path: string): Promise<string | undefined> {
  let last: string | undefined;
  for await (const text of linesOf(path)) {
    const parsed = parseLine(text);
    if (parsed?.kind === 'event') last = parsed.line.event;
  }
  return last;
}

function statusOf(last: string | undefined, isEarly: boolean): RunStatus {
  if (last === 'failed') return 'failed';
  if (last !== 'finished') return 'killed';
  return isEarly ? 'stopped' : 'finished';
}

function maxStepsOf(folder: RunFolder, cwd: string): number | undefined {
  try {
    return loadConfig({ file: folder.configPath, cwd }).config.train.maxSteps;
  } catch {
    // One of another version: the run is listed all the same.
    return undefined;
  }
}

async function* linesOf(path: string): AsyncGenerator<string> {
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  if (!exists) return;
  yield* createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY });
}

async function bytesIn(folder: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) total += await bytesIn(path);
    // A file may be gone by now: the run may be going on.
    else total += (await stat(path).catch(() => ({ size: 0 }))).size;
  }
  return total;
}
