/**
 * One membership of a worker: its place in the ring of a term, and its sequence of steps. It reads like the protocol (comm/protocol.ts).
 * agent.ts decides how a worker enters a term and what ends the run.
 */
import type { Batch } from '../base/batch.ts';
import type { Clock } from '../base/clock.ts';
import { invariant, PeerError } from '../base/errors.ts';
import { decodeBatch, encodeBatch } from '../comm/batchPayload.ts';
import { type Bucket, bucketsFor } from '../comm/buckets.ts';
import type { CoordinatorMessageOf } from '../comm/coordinatorMessages.ts';
import type { RingAllReduce } from '../comm/ring.ts';
import { RingError } from '../comm/ringError.ts';
import type { WorkerMessage } from '../comm/workerMessages.ts';
import { modelOf } from '../config/groups/model.ts';
import { objectiveOf } from '../model/objectives/registry.ts';
import { checkBatch } from '../task/fields.ts';
import type { Inbox } from './inbox.ts';
import type { Job } from './replicaProtocol.ts';
import { StatePassing } from './statePassing.ts';
import type { StateSender } from './stateStream.ts';
import { StepTimeline, StepTrace } from './stepTrace.ts';
import type { TrackedReplica } from './trackedReplica.ts';
import type { WorkerStatus } from './workerStatus.ts';

/** The term is over for this rank: a new one has begun, or the ring is broken. */
export class TermOver extends Error {
  override readonly name = 'TermOver';
}

/** The resources of a membership. */
export interface TermParts {
  /** The worker's place, and the term's initial state. */
  readonly form: CoordinatorMessageOf<'form'>;
  readonly job: Job;
  readonly ring: RingAllReduce;
  readonly held: TrackedReplica;
  readonly inbox: Inbox;
  readonly status: WorkerStatus;
  readonly clock: Clock;
  readonly checkpointStream: StateSender;
  readonly transferStream: StateSender;
  /** Sends to the coordinator. */
  readonly send: (message: WorkerMessage, payload?: Uint8Array) => void;
}

export class Term {
  readonly #parts: TermParts;
  /** The same array in every step, by which the ring knows it again. */
  #buckets: readonly Bucket[] | undefined;

  constructor(parts: TermParts) {
    this.#parts = parts;
  }

  /** Takes the rank, gets the state in place, then runs step after step. Ends with TermOver, or with the run. */
  async work(): Promise<never> {
    const { form, ring, held, inbox, status, send } = this.#parts;
    const { term, rank, worldSize, nextAddress: next, previousAddress: previous } = form;
    status.step = form.step;
    status.term = term;
    ring.form({ term, rank, worldSize, next, previous });
    const passing = this.#passing();
    await held.take(form, async (state) => {
      status.enter('receiving state');
      await passing.receive(state);
      // Nothing is awaited from others any more.
      status.enter('waiting for work');
    });
    const stateHash = form.verify ? await inbox.orEnd(held.replica.stateHash()) : undefined;
    send({ type: 'ready', term, step: form.step, ...(stateHash !== undefined && { stateHash }) });
    if (form.send && form.state === 'keep') {
      const { state, copied } = held.snapshot();
      await inbox.orEnd(copied ?? Promise.resolve());
      passing.start(state);
    }
    await this.#hold(form.step);
    for (let step = form.step + 1; ; step++) {
      const commit = await this.#trainStep(step);
      if (commit.hold) await this.#hold(step);
    }
  }

  #passing(): StatePassing {
    const { form, ring, inbox, transferStream: stream, send } = this.#parts;
    const onBroken = (error: RingError) => inbox.interrupt(this.#tellBroken(error));
    return new StatePassing({ form, ring, inbox, stream, send, onBroken });
  }

  /** One step: forward and backward, with the ring beside it; then the wait for the commit; then AdamW. */
  async #trainStep(step: number): Promise<CoordinatorMessageOf<'commit'>> {
    const { form, job, ring, held, inbox, status, send } = this.#parts;
    const { term } = form;
    const { gradients } = held.built;
    this.#buckets ??= bucketsFor(held.built.buckets, form.worldSize);
    const buckets = this.#buckets;
    status.step = step;
    status.phase = 'waiting for work';
    const timeline = new StepTimeline(this.#parts.clock);
    const { message: assign, payload } = await inbox.take('assign');
    invariant(assign.step === step, `expected the samples of step ${step}, received those of step ${assign.step}`);
    const { sampleFrom, sampleCount, globalWeight } = assign;
    const batch = batchOf(assign, payload, job);
    timeline.ended('wait for data');

    status.phase = 'forward and backward';
    const trace = assign.trace ? new StepTrace() : undefined;
    const onReduced = (bucket: number): void => held.replica.reduced(bucket);
    ring.begin({ step, data: gradients, buckets, onReduced, observer: trace?.ring });
    const { worldSize } = form;
    const task = { step, sampleFrom, batch, globalWeight, worldSize, trace: assign.trace };
    const sums = await this.#computing(held.replica.step(task, (bucket) => ring.start(bucket)));
    timeline.ended('forward and backward');

    if (worldSize > 1) status.enter('all-reduce');
    await inbox.orEnd(ring.whenDone()).catch((error: unknown) => this.#ringBroke(error));
    timeline.ended('wait for the ring');
    const gradNorm = await inbox.orEnd(held.replica.gradNorm());
    held.reduced(step, term);
    timeline.ended('gradient norm');
    send({ type: 'reduced', term, step, sampleFrom, sampleCount, sums, gradNorm });

    status.phase = 'waiting for commit';
    let { message: commit } = await inbox.take('commit');
    // A commit that was being applied when this worker rejoined is sent again.
    while (commit.step < step) commit = (await inbox.take('commit')).message;
    invariant(commit.step === step, `expected the commit of step ${step}, received that of step ${commit.step}`);
    timeline.ended('wait for commit');

    status.phase = 'optimizer';
    const { learningRate } = commit;
    // A commit is final, so this is not interrupted.
    await this.#parts.checkpointStream.keep();
    await held.apply({ step, learningRate, gradNorm: commit.gradNorm }, term);
    const parameterHash = commit.hash ? await held.replica.parameterHash() : undefined;
    timeline.ended('optimizer');

    // Before `applied`, after which the run may be over.
    if (trace !== undefined) {
      send(...trace.message({ term, step }, timeline, await held.replica.takeSpans()));
    }
    const applied = { term, step, timings: timeline.timings(), ringBytesSent: ring.stats().bytesSent };
    send({ type: 'applied', ...applied, ...(parameterHash !== undefined && { parameterHash }) });
    return commit;
  }

  /** Waits for the compute thread even when the term is over, because its next task needs the same buffers. */
  async #computing<T>(work: Promise<T>): Promise<T> {
    const { ring, held, inbox } = this.#parts;
    try {
      return await inbox.orEnd(work);
    } catch (error) {
      ring.abort(new PeerError('the step is given up'));
      held.replica.giveUp();
      await work.catch(() => undefined);
      throw error;
    }
  }

  /** Reports it to the coordinator, which opens another term. */
  #ringBroke(error: unknown): never {
    if (!(error instanceof RingError)) throw error;
    throw this.#tellBroken(error);
  }

  #tellBroken(error: RingError): TermOver {
    const { form, ring, status, send } = this.#parts;
    const { suspect, unreached } = error;
    const message = error.message.slice(0, 4_000);
    const where = unreached !== undefined && { unreached: unreached.slice(0, 4_000) };
    const ringFrames = ring.stats().framesReceived;
    send({ type: 'ringBroken', term: form.term, step: status.step, suspect, ringFrames, message, ...where });
    return new TermOver(message);
  }

  /** Between two steps: evaluations and snapshots, until the coordinator starts the next step. */
  async #hold(step: number): Promise<void> {
    const { job, held, inbox, status, send } = this.#parts;
    for (;;) {
      status.phase = 'waiting for work';
      const { message, payload } = await inbox.take('evaluate', 'rollout', 'snapshot', 'proceed');
      const { term } = message;
      if (message.type === 'proceed') return;
      if (message.type === 'evaluate') {
        status.enter('evaluation');
        const { part } = message;
        const batch = batchOf(message, payload, job);
        const sums = await inbox.orEnd(held.replica.evaluate({ batch }));
        send({ type: 'evaluated', term, step, part, sums });
      } else if (message.type === 'rollout') {
        await this.#rollOut(message, payload);
      } else {
        status.enter('snapshot');
        const { state, copied } = held.snapshot();
        send({ type: 'snapshotTaken', term, step, bytes: state.byteLength });
        // Computation continues during the copy. A device that cannot copy is lost.
        copied?.catch((error: unknown) => inbox.end(error));
        this.#parts.checkpointStream.start({ term, step }, state, copied);
      }
    }
  }

  /** A part of the rollouts. It is not sent if the term ends before, because the run leases it again. */
  async #rollOut(message: CoordinatorMessageOf<'rollout'>, payload: Uint8Array | undefined): Promise<void> {
    const { held, inbox, status, send } = this.#parts;
    status.enter('rollout');
    const { term, step, iteration, part, endToken } = message;
    const task = { iteration, prompts: decodeBatch(message, payload), endToken };
    const batch = await inbox.orEnd(held.replica.rollOut(task));
    const { fields, payload: rollouts } = encodeBatch(batch);
    const place = { term, step, iteration, part, sampleCount: batch.sampleCount };
    send({ type: 'rolledOut', ...place, fields }, rollouts);
  }

  /** Leaves the ring: work on an uncommitted step is void. */
  giveUp(): void {
    const { ring, held, transferStream } = this.#parts;
    ring.abort(new PeerError('the term is over'));
    transferStream.drop();
    held.giveUpStep();
  }
}

/** The samples of a message, validated by the objective's rules. @throws PeerError */
function batchOf(
  message: CoordinatorMessageOf<'assign' | 'evaluate'>,
  payload: Uint8Array | undefined,
  { config, vocabSize, objective }: Job,
): Batch {
  const batch = decodeBatch(message, payload);
  checkBatch(batch, objectiveOf(objective, config.task).fields(modelOf(config.model, vocabSize)));
  return batch;
}
