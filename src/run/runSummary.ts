/** The summary of a run in a list: read from the files in its directory, without loading a checkpoint or an engine. */
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { loadConfig } from '../config/load.ts';
import { parseLine } from '../records/runLines.ts';
import type { RunFolder } from './runFolder.ts';

/**
 * training: a process holds it; finished: it reached its last step; stopped: it was stopped before that; failed; killed: it ended
 * without a word.
 */
export type RunStatus = 'training' | 'finished' | 'stopped' | 'failed' | 'killed';

export interface RunSummary {
  /** The last part of its path. */
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  readonly status: RunStatus;
  /** Number of updates in metrics.jsonl. */
  readonly step: number;
  /** Undefined if its config cannot be read. */
  readonly maxSteps: number | undefined;
  /** The loss of its last step, in nats; undefined before the first. */
  readonly loss: number | undefined;
  /** The lowest validation loss, in nats, and its step; undefined if it was never evaluated. */
  readonly best: { readonly step: number; readonly valLoss: number } | undefined;
  /** Total size of the files in its directory. */
  readonly bytes: number;
  /** Time of the last recorded step, in ISO 8601. */
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
  // The last line may be torn.
  let stepLines: string[] = [];
  for await (const text of linesOf(path)) {
    // A long run has many step lines, and only the last one counts.
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
    // Written by another version: the run is still listed.
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
    // A file may have disappeared: the run may be in progress.
    else total += (await stat(path).catch(() => ({ size: 0 }))).size;
  }
  return total;
}
