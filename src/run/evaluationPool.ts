/**
 * Computes the parts of an evaluation in several processes, each with the model on its own threads. A part that a process takes to its
 * grave, or is slow with, is given to another; the first result counts, and all are equal.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { PeerError, UserError } from '../base/errors.ts';
import type { EngineOptions } from '../engine/registry.ts';
import {
  type Evaluator,
  type OnDone,
  type Part,
  type PartKind,
  type PartResult,
  sizeOfPart,
} from './evaluationParts.ts';

/** The first message to a process. */
export interface EvaluationWorkerStart {
  /** The folder of the checkpoint. */
  readonly path: string;
  readonly engine: EngineOptions;
}

/** Every further message to a process. */
export interface PartRequest {
  readonly id: number;
  readonly part: Part;
}

/** What a process answers: that it has the model, the result of a part, or why it failed. */
export type EvaluationWorkerAnswer =
  | { readonly ready: true }
  | { readonly id: number; readonly result: PartResult }
  | { readonly failure: string; readonly isUsersFault: boolean };

export interface EvaluationPoolOptions {
  readonly workers: number;
  readonly path: string;
  /** For each process; `localIndex` is set here. */
  readonly engine: EngineOptions;
  readonly onWarning: (line: string) => void;
  /** The program of a process. Default: evaluationWorkerMain.js beside this file. */
  readonly entry?: URL;
}

/** Parts that are open or wait for an earlier one, per process. */
const openPerWorker = 4;
/** Processes that compute the same part. */
const holdersMax = 2;

interface Worker {
  readonly child: ChildProcess;
  isIdle: boolean;
}

interface OpenPart {
  readonly part: Part;
  readonly holders: Set<Worker>;
}

export class EvaluationPool implements Evaluator {
  readonly workers: number;
  readonly #options: EvaluationPoolOptions;
  readonly #living = new Set<Worker>();
  readonly #exits: Promise<void>[] = [];
  #ids = 0;
  /** By id, oldest first. */
  readonly #open = new Map<number, OpenPart>();
  readonly #results = new Map<number, PartResult>();
  #failure: PeerError | UserError | undefined;
  #onChange: () => void = () => undefined;
  #onDone: OnDone = () => undefined;

  /** Starts the processes; they load the model while the first parts are prepared. */
  constructor(options: EvaluationPoolOptions) {
    this.#options = options;
    this.workers = options.workers;
    for (let index = 0; index < options.workers; index++) this.#start(index);
  }

  /** @throws UserError, as one process alone does, for what the user can repair; PeerError if a process fails otherwise, or if all of them are lost */
  async *compute<Kind extends PartKind>(
    parts: Iterable<Part<Kind>>,
    onDone: OnDone,
  ): AsyncGenerator<PartResult<Kind>, void, undefined> {
    const rest = parts[Symbol.iterator]();
    this.#onDone = onDone;
    let next = this.#ids;
    let isAtEnd = false;
    for (;;) {
      while (!isAtEnd && this.#open.size + this.#results.size < openPerWorker * this.workers) {
        const { value, done = false } = rest.next();
        if (done) isAtEnd = true;
        else this.#open.set(this.#ids++, { part: value, holders: new Set() });
      }
      if (isAtEnd && next === this.#ids) return;
      this.#assign();
      const result = this.#results.get(next);
      if (result === undefined) {
        await this.#change();
        continue;
      }
      this.#results.delete(next++);
      yield result as PartResult<Kind>;
    }
  }

  /** Ends the processes. */
  async close(): Promise<void> {
    for (const { child } of this.#living) {
      child.removeAllListeners('message');
      child.kill('SIGKILL');
    }
    this.#living.clear();
    await Promise.all(this.#exits);
  }

  #start(index: number): void {
    const { path, engine, entry = new URL('./evaluationWorkerMain.js', import.meta.url) } = this.#options;
    const child = fork(entry, [], {
      serialization: 'advanced',
      // Node options of a library user's program, such as a script on the command line or a debugger, are not for these.
      execArgv: process.execArgv.filter((flag) => !/^--(input-type|inspect)/.test(flag)),
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const worker: Worker = { child, isIdle: false };
    this.#living.add(worker);
    child.on('message', (answer) => this.#receive(worker, answer as EvaluationWorkerAnswer));
    child.on('error', (error) => this.#lost(worker, error.message));
    this.#exits.push(
      new Promise((resolve) => {
        // A process that never began, for example because too many files are open, does not close.
        if (child.pid === undefined) resolve();
        child.on('close', (code, signal) => {
          this.#lost(worker, signal === null ? `exited with code ${code}` : `was killed by ${signal}`);
          resolve();
        });
      }),
    );
    const start: EvaluationWorkerStart = { path, engine: { ...engine, localIndex: index } };
    // One that has already ended, or never began, reports itself.
    if (child.connected) child.send(start, () => undefined);
  }

  #receive(worker: Worker, answer: EvaluationWorkerAnswer): void {
    if ('failure' in answer) {
      const { failure, isUsersFault } = answer;
      this.#failure ??= isUsersFault ? new UserError(failure) : new PeerError(failure);
    } else {
      worker.isIdle = true;
      if ('id' in answer) this.#done(answer.id, answer.result);
    }
    this.#onChange();
  }

  /** Only the first result of a part counts. */
  #done(id: number, result: PartResult): void {
    const open = this.#open.get(id);
    if (open === undefined) return;
    this.#open.delete(id);
    this.#results.set(id, result);
    this.#onDone(sizeOfPart(open.part));
  }

  #lost(worker: Worker, why: string): void {
    if (!this.#living.delete(worker)) return;
    for (const { holders } of this.#open.values()) holders.delete(worker);
    const left = this.#living.size;
    const lost = `${worker.child.pid === undefined ? 'a process' : `process ${worker.child.pid}`} of the evaluation ${why}`;
    if (left > 0) this.#options.onWarning(`${lost}; ${left} of ${this.workers} compute its share`);
    else this.#failure ??= new PeerError(`${lost}, and no other is left: start the evaluation again`);
    this.#onChange();
  }

  /** Gives every idle process the oldest part that nobody computes, or one that another has not finished. */
  #assign(): void {
    for (const worker of this.#living) {
      if (!worker.isIdle) continue;
      const open = [...this.#open].filter(([, { holders }]) => holders.size < holdersMax);
      const [id, chosen] = open.find(([, { holders }]) => holders.size === 0) ?? open[0] ?? [];
      if (id === undefined || chosen === undefined) return;
      chosen.holders.add(worker);
      worker.isIdle = false;
      worker.child.send({ id, part: chosen.part } satisfies PartRequest, () => undefined);
    }
  }

  async #change(): Promise<void> {
    if (this.#failure === undefined) {
      await new Promise<void>((resolve) => {
        this.#onChange = resolve;
      });
    }
    if (this.#failure !== undefined) throw this.#failure;
  }
}
