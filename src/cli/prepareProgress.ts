/** The progress bar of `launch prepare`, on standard error: one line that changes on a terminal, otherwise periodic lines. */
import { grouped } from '../base/numberText.ts';
import type { PreparePhase } from '../data/prepare/prepareShards.ts';
import { bytes, duration } from './progress.ts';

const terminalIntervalMs = 200;
const lineIntervalMs = 5_000;
const barCells = 24;
/** A phase that has just begun has no speed yet. */
const speedSeconds = 0.1;

export interface PrepareProgress {
  readonly update: (phase: PreparePhase, bytesRead: number, tokens: number) => void;
  /** Moves the cursor to the start of a line. */
  readonly end: () => void;
}

/** @param totalBytes size of all sources; 0 if unknown */
export function prepareProgress(totalBytes: number, stream: NodeJS.WriteStream = process.stderr): PrepareProgress {
  const intervalMs = stream.isTTY ? terminalIntervalMs : lineIntervalMs;
  let phaseNow: PreparePhase | undefined;
  const beganMs = performance.now();
  let start = { ms: beganMs, bytes: 0, tokens: 0 };
  let printedMs = beganMs;
  let isLineOpen = false;
  return {
    update(phase, bytesRead, tokens) {
      const nowMs = performance.now();
      if (phase !== phaseNow) {
        // Skipped input and earlier passes do not count for the speed.
        start = { ms: phaseNow === undefined ? beganMs : nowMs, bytes: bytesRead, tokens };
        phaseNow = phase;
      }
      if (nowMs - printedMs < intervalMs) return;
      printedMs = nowMs;
      const line = progressLine({
        phase,
        bytesRead,
        totalBytes,
        tokens,
        seconds: (nowMs - start.ms) / 1_000,
        start,
      });
      stream.write(stream.isTTY ? `\r${line}\x1b[K` : `${line}\n`);
      isLineOpen = Boolean(stream.isTTY);
    },
    end() {
      if (isLineOpen) stream.write('\r\x1b[K');
      isLineOpen = false;
    },
  };
}

export interface ProgressFacts {
  readonly phase: PreparePhase;
  readonly bytesRead: number;
  readonly totalBytes: number;
  readonly tokens: number;
  /** Seconds since the phase began. */
  readonly seconds: number;
  /** What had been read and encoded by then, as before a resume. */
  readonly start: { readonly bytes: number; readonly tokens: number };
}

/** `[######------] 50 %  1.0 GiB of 2.0 GiB  3,100,000 tokens/s  0:48 left` */
export function progressLine({ phase, bytesRead, totalBytes, tokens, seconds, start }: ProgressFacts): string {
  const speed = seconds < speedSeconds ? '' : `${grouped(Math.round((tokens - start.tokens) / seconds))} tokens/s`;
  const what = phase === 'tokens' ? speed || `${grouped(tokens)} tokens` : `collecting ${phase}`;
  if (totalBytes === 0) return `${bytes(bytesRead)}  ${what}`;
  const done = Math.min(1, bytesRead / totalBytes);
  const filled = Math.round(done * barCells);
  const bar = `[${'#'.repeat(filled)}${'-'.repeat(barCells - filled)}] ${Math.floor(done * 100)} %`;
  const rate = (bytesRead - start.bytes) / seconds;
  const left =
    rate > 0 && seconds >= speedSeconds ? `  ${duration(Math.max(0, totalBytes - bytesRead) / rate)} left` : '';
  return `${bar}  ${bytes(bytesRead)} of ${bytes(totalBytes)}  ${what}${left}`;
}
