/** Workers that send a signal, to themselves or to their coordinator, at a named moment of a step (faultyWorker.mjs). */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach } from 'vitest';

const script = fileURLToPath(new URL('./faultyWorker.mjs', import.meta.url));

/** Its name comes before `local-…`: it is the first rank, which is the one that streams checkpoints. */
export const faultyWorker = 'a-faulty';

/** What a worker goes through in a step, and as a checkpoint is written. */
export const stepMoments = [
  'forward',
  'reduceScatter',
  'allGather',
  'beforeCommit',
  'afterCommit',
  'optimizer',
  'checkpoint',
] as const;

/** Where a worker was when it sent the signal. */
interface Fault {
  readonly step: number;
  readonly term: number;
  readonly timeMs: number;
}

interface FaultyOptions {
  readonly coordinatorAddress: string;
  readonly signal: 'SIGKILL' | 'SIGSTOP';
  /** One of {@link stepMoments}, `forming`, `evaluate` or `snapshot`. */
  readonly moment: string;
  /** Pid of who gets the signal; absent: the worker itself. */
  readonly victim?: number | undefined;
}

/** A way to start such workers; those that are left after a test are ended. */
export function useFaultyWorkers() {
  const started: ChildProcess[] = [];
  afterEach(() => {
    for (const child of started.splice(0)) child.kill('SIGKILL'); // ends a stopped one too
  });
  return (options: FaultyOptions) => {
    const argument = JSON.stringify({ id: faultyWorker, ...options });
    const child = spawn(process.execPath, [script, argument], { stdio: ['ignore', 'pipe', 'inherit'] });
    started.push(child);
    const fault = new Promise<Fault>((resolve, reject) => {
      let stdout = '';
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        stdout += chunk;
        const said = /^FAULT (.+)\n/m.exec(stdout)?.[1];
        if (said !== undefined) resolve(JSON.parse(said) as Fault);
      });
      child.on('close', (code) => reject(new Error(`the worker ended with ${code} before its fault`)));
    });
    return { child, fault };
  };
}
