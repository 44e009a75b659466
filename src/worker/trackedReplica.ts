/**
 * A worker's replica and the state it holds: the committed step, and possibly a step that is reduced but not committed. Its claim is
 * true at every moment, because the coordinator uses it to decide who continues and who needs a state (terms.ts).
 */
import { invariant } from '../base/errors.ts';
import type { CoordinatorMessageOf } from '../comm/coordinatorMessages.ts';
import type { StateClaim } from '../comm/messageFields.ts';
import type { Inbox } from './inbox.ts';
import type { BuildResult, Job } from './replicaProtocol.ts';
import type { Replica } from './replicaThread.ts';
import { newState, StateBytes } from './stateStream.ts';

/** A replica's state at one moment. */
export interface Snapshot {
  readonly state: StateBytes;
  /** Resolves when `state` can be read, if it is a copy, which no update changes. Absent: `state` is the original. */
  readonly copied?: Promise<void>;
}

export interface TrackedReplicaOptions {
  readonly makeReplica: () => Replica;
  readonly inbox: Inbox;
}

export class TrackedReplica {
  readonly #options: TrackedReplicaOptions;
  #replica: Replica;
  #job: Job | undefined;
  #built: BuildResult | undefined;
  /** Set until the new replica is built. `#built` is then the previous one's, which used the same engine. */
  #building: Promise<BuildResult> | undefined;
  #claim: StateClaim | undefined = { step: 0, term: 0 };
  /** The last requested copy of the state. */
  #copying: Promise<void> = Promise.resolve();

  constructor(options: TrackedReplicaOptions) {
    this.#options = options;
    this.#replica = options.makeReplica();
  }

  get replica(): Replica {
    return this.#replica;
  }

  /** The state it holds; undefined while that is being overwritten. */
  get claim(): StateClaim | undefined {
    return this.#claim;
  }

  get isBuilt(): boolean {
    return this.#built !== undefined;
  }

  get built(): BuildResult {
    invariant(this.#built !== undefined, 'the replica is used before it is built');
    return this.#built;
  }

  async build(job: Job): Promise<void> {
    this.#job = job;
    this.#building = this.#replica.build(job);
    await this.#whenBuilt();
  }

  /** A build interrupted by a new term continues; the replica is usable when it has finished. */
  async #whenBuilt(): Promise<void> {
    if (this.#building === undefined) return;
    this.#built = await this.#options.inbox.orEnd(this.#building);
    this.#building = undefined;
  }

  /**
   * Brings the replica to a term's initial state: keeps, initialises or receives it.
   * @param receive stores the state that is sent to this worker
   */
  async take(form: CoordinatorMessageOf<'form'>, receive: (state: StateBytes) => Promise<void>): Promise<void> {
    if (form.state === 'keep') {
      const { step } = this.#claim ?? { step: 'nothing' };
      invariant(step === form.step, `asked to keep the state of step ${form.step}, but the replica holds ${step}`);
    } else if (form.state === 'receive' || form.state === 'follow') {
      this.#claim = undefined;
      await this.#whenBuilt();
      const { state: own, blocks } = this.built;
      const state = own ?? newState(blocks);
      await receive(StateBytes.ofBlocks(state, blocks));
      await this.#options.inbox.orEnd(this.#replica.importState({ state })); // also tells the replica that its own memory has changed
    } else if (this.#claim?.step !== 0) {
      // Only a new replica has the initial state.
      this.#claim = undefined;
      await this.#options.inbox.orEnd(this.#copying);
      await this.#replica.close();
      this.#replica = this.#options.makeReplica();
      invariant(this.#job !== undefined, 'a replica is made anew before it was built');
      await this.build(this.#job);
    }
    this.#claim = { step: form.step, term: form.committedTerm };
  }

  /** The gradients of this step are reduced; its commit has not arrived. */
  reduced(step: number, term: number): void {
    invariant(this.#claim !== undefined, 'a step is reduced on a replica without state');
    this.#claim = { step: this.#claim.step, term: this.#claim.term, pending: { step, term } };
  }

  /** The commit of the reduced step has arrived. */
  async apply(update: Parameters<Replica['apply']>[0], term: number): Promise<void> {
    await this.#replica.apply(update);
    this.#claim = { step: update.step, term };
  }

  /** Work on an uncommitted step is void. */
  giveUpStep(): void {
    this.#replica.giveUp();
    if (this.#claim?.pending !== undefined) this.#claim = { step: this.#claim.step, term: this.#claim.term };
  }

  /** The state itself if it can be read, until the next update; otherwise a copy of the current state. */
  snapshot(): Snapshot {
    const { state: own, blocks } = this.built;
    if (own) return { state: StateBytes.ofBlocks(own, blocks) };
    const state = newState(blocks);
    const copied = this.#replica.exportState({ state });
    this.#copying = copied.catch(() => undefined); // the receiver of the snapshot sees the error
    return { state: StateBytes.ofBlocks(state, blocks), copied };
  }

  close(): Promise<void> {
    return this.#replica.close();
  }
}
