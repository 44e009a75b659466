/** The output of `launch train`: a live view on a terminal, otherwise plain lines; warnings only (`--quiet`); JSON lines (`--json`). */
import { exitCodeOf, fullMessageOf } from '../base/errors.ts';
import type { RunListener } from '../coordinator/coordinatorOptions.ts';
import { jsonListener, jsonOutput, writeJsonLine } from './jsonLines.ts';
import { type LiveViewOptions, openLiveView } from './live/liveView.ts';
import { quietOutput, setOutput, warn } from './output.ts';
import { progressPrinter } from './progress.ts';

export type OutputMode = 'live' | 'plain' | 'quiet' | 'json';

export interface OutputArguments {
  readonly plain?: boolean | undefined;
  readonly quiet?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** The requested mode; by default live if standard output is a terminal and this is not a CI job. */
export function outputModeOf(
  { plain, quiet, json }: OutputArguments,
  isTTY: boolean,
  env: NodeJS.ProcessEnv = process.env,
): OutputMode {
  if (json) return 'json';
  if (quiet) return 'quiet';
  const ci = env['CI'] ?? '';
  const isCI = ci !== '' && ci !== '0' && ci !== 'false';
  return isTTY && !plain && !isCI && env['TERM'] !== 'dumb' ? 'live' : 'plain';
}

/** Runs a command with the output of `mode`. @returns its exit code */
export async function withOutput(mode: OutputMode, command: () => Promise<number>): Promise<number> {
  if (mode === 'quiet') {
    const before = setOutput(quietOutput);
    return await command().finally(() => setOutput(before));
  }
  if (mode !== 'json') return await command();
  const before = setOutput(jsonOutput);
  try {
    const code = await command();
    writeJsonLine('exit', { code });
    return code;
  } catch (error) {
    writeJsonLine('exit', { code: exitCodeOf(error), error: fullMessageOf(error) });
    throw error;
  } finally {
    setOutput(before);
  }
}

export interface RunOutput {
  readonly listener: Partial<RunListener>;
  /** Receives the lines of worker processes if they must not be printed directly. */
  readonly onWorkerOutput?: (line: string) => void;
  /** Ends the output of the run; later lines are printed below it. */
  close(): void;
}

export interface RunFacts extends LiveViewOptions {
  /** Absolute. */
  readonly runDir: string;
}

/** Shows a run until the output is closed. */
export function openRunOutput(mode: OutputMode, options: RunFacts): RunOutput {
  // The line of a warning already has the prefix.
  const onWorkerOutput = (line: string) => warn(line.replace(/^warning: /, ''));
  const { runDir, maxSteps, startStep, stepTokens } = options;
  switch (mode) {
    case 'live':
      return { ...openLiveView(options), onWorkerOutput };
    case 'json':
      writeJsonLine('run', { runDir, maxSteps, startStep, stepTokens });
      return { listener: jsonListener, onWorkerOutput, close: () => {} };
    case 'quiet':
    case 'plain':
      return { listener: progressPrinter(options), close: () => {} };
    default:
      return mode satisfies never;
  }
}
