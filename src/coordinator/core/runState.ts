/** The vocabulary of the decision core (decide.ts): the state of a run. Plain data only. */
import type { StateTensor } from '../../base/stateParts.ts';
import { noSums, type Sums } from '../../base/sums.ts';
import type { ComputeLimit, EngineId, StateClaim, StepTimings, WorkerPhase } from '../../comm/messageFields.ts';
import { type EvaluatedLoss, evaluatedThrough } from './bestEvaluation.ts';
import type { Members } from './roster.ts';
import type { KnownIteration, RunPlan } from './runPlan.ts';

/** The rollouts that are being made, by the state of `step` and `committedTerm`. */
export interface RolloutPhase {
  readonly iteration: number;
  readonly step: number;
  readonly committedTerm: number;
  /** The finished parts, counted from 0. */
  readonly done: readonly number[];
  /** All are finished; the rewards are being computed and the file written. */
  readonly isJudging: boolean;
}

/** The progress of a coordinator that was killed (journal.ts). */
export interface Resumed {
  readonly term: number;
  readonly step: number;
  readonly committedTerm: number;
  /** Norm of the committed step's gradient, if the journal has it. */
  readonly gradNorm: number | undefined;
  /** Learning rate of the committed step's update, if the journal has it; the schedule may have changed since. */
  readonly learningRate: number | undefined;
  /** Number of tokens trained on in `step` updates, if the journal has it. */
  readonly tokens: number | undefined;
  /** The same in samples. */
  readonly samples: number | undefined;
  /** Number of samples in each update after `step` that the workers have applied, if the journal has it. */
  readonly globalBatchSize?: number | undefined;
  /** Names of the workers that may still be alive and hold their state. */
  readonly workers: readonly string[];
  /** The newest iteration whose rollouts are in the journal and on disk. */
  readonly rollouts?: KnownIteration | undefined;
}

/** One worker as the coordinator knows it. `step` counts updates: step 1 is the first. */
export interface Member {
  /** Id of its connection. A worker that reconnects gets a new one. */
  readonly id: string;
  /** Its name, which never changes. */
  readonly worker: string;
  readonly host: string;
  readonly pid: number;
  readonly ringAddress: string;
  /** The node of a job that it belongs to: its rank, and the start of it. */
  readonly node?: { readonly rank: number; readonly start: string } | undefined;
  /** -1 while it is outside the ring. */
  readonly rank: number;
  readonly lastSeenMs: number;
  readonly phase: WorkerPhase;
  /** The step it is working on. */
  readonly step: number;
  /** The state that its replica holds, or will hold once it has carried out its instructions. */
  readonly holds: StateClaim | undefined;
  /** Set once it has built its replica. */
  readonly prepared?:
    | {
        /** For display only. */
        readonly engine: string;
        readonly engineId: EngineId;
        readonly tensors: readonly StateTensor[];
        readonly limit?: ComputeLimit;
        readonly referenceHash?: string;
      }
    | undefined;
  /** The term that it is ready for, and the hash of its state if the coordinator asked for one. */
  readonly ready?: { readonly term: number; readonly stateHash: string | undefined } | undefined;
  /** The newest step whose gradients it has reduced. */
  readonly reduced?:
    | {
        readonly step: number;
        readonly sampleFrom: number;
        readonly sampleCount: number;
        readonly sums: Sums;
        readonly gradNorm: number;
      }
    | undefined;
  /** Its share of the last committed step, if it took part; it may have reduced the next one already. */
  readonly took?:
    | {
        readonly step: number;
        readonly rank: number;
        readonly sampleFrom: number;
        readonly sampleCount: number;
      }
    | undefined;
  /** The newest step it has applied. */
  readonly applied?:
    | {
        readonly step: number;
        readonly timings: StepTimings;
        readonly ringBytesSent: number;
        readonly parameterHash: string | undefined;
      }
    | undefined;
  /** The sums over the parts of the current evaluation that it has finished, and the number of those parts. */
  readonly evaluated?:
    | {
        readonly step: number;
        readonly parts: number;
        readonly sums: Sums;
        /** It gets no more parts, because the evaluation is cut short. */
        readonly isCut?: boolean;
      }
    | undefined;
  /** The part of the rollouts that it is making. */
  readonly lease?: number | undefined;
  /** It receives the state of the term from the previous rank. */
  readonly follows?: boolean | undefined;
  /** Number of ring frames received in its current step, and the time of the last one (or of the last change of activity). */
  readonly ring?: { readonly frames: number; readonly sinceMs: number } | undefined;
  /** It leaves at the next step boundary. */
  readonly leaving: boolean;
  /** Samples per millisecond, smoothed; 0 until measured. */
  readonly speed: number;
}

/** A copy that is changed before anyone else has it. */
export type MemberDraft = { -readonly [K in keyof Member]: Member[K] };

/**
 * Field by field: spreading an object of this many fields takes nine times as long, and every member is copied several times a step. @returns a copy
 * for the caller to change
 */
export function draftOf(member: Member): MemberDraft {
  return {
    id: member.id,
    worker: member.worker,
    host: member.host,
    node: member.node,
    pid: member.pid,
    ringAddress: member.ringAddress,
    rank: member.rank,
    lastSeenMs: member.lastSeenMs,
    phase: member.phase,
    step: member.step,
    holds: member.holds,
    prepared: member.prepared,
    ready: member.ready,
    reduced: member.reduced,
    took: member.took,
    applied: member.applied,
    evaluated: member.evaluated,
    lease: member.lease,
    follows: member.follows,
    ring: member.ring,
    leaving: member.leaving,
    speed: member.speed,
  } satisfies Required<MemberDraft>;
}

/**
 * gathering → forming → stepping ⇄ (evaluating, snapshotting, rollingOut) → finishing → finished; failed from anywhere. A loss leads to
 * forming, or to gathering if too few are left. In `finishing` the last checkpoint is still being written.
 */
export type Stage =
  | 'gathering'
  | 'forming'
  | 'stepping'
  | 'evaluating'
  | 'snapshotting'
  | 'rollingOut'
  | 'finishing'
  | 'finished'
  | 'failed';

export interface RunState {
  readonly plan: RunPlan;
  readonly stage: Stage;
  /** Start of the stage; in `stepping`, start of the step. */
  readonly sinceMs: number;
  readonly term: number;
  /** Number of committed updates. */
  readonly step: number;
  /** The term in which `step` was committed. Term and step together identify one state, bit for bit. */
  readonly committedTerm: number;
  /** The last committed step, over the entire global batch. Members may have reduced the next one already. */
  readonly committed: {
    readonly sums: Sums;
    /** The norm that every replica clips by; undefined if another coordinator committed the step and the journal lacks it. */
    readonly gradNorm: number | undefined;
    /** The learning rate of every replica's update; undefined where `gradNorm` is. */
    readonly learningRate: number | undefined;
    readonly worldSize: number;
  };
  /** The step at which this coordinator last opened a term; undefined before the first. */
  readonly openedAtStep: number | undefined;
  /** Number of steps up to `step`, one after another, that were skipped because of the norm of their gradient (precision f16). */
  readonly skipsInARow: number;
  /** Number of updates whose commit every member has applied. */
  readonly appliedStep: number;
  /** Newest step whose samples are assigned in this term. */
  readonly assignedStep: number;
  /** The ring, in rank order; empty while the run gathers workers. */
  readonly members: Members<Member>;
  /** Workers outside the ring. */
  readonly joiners: Members<Member>;
  /**
   * Where to begin to look for a member that has not reported: the rank that was found last. It changes no decision, only the time to
   * find it.
   */
  readonly awaited: number;
  /** Local workers that were started and have not joined yet. */
  readonly starting: readonly string[];
  /** Workers that may return with their state: lost, but not known to be dead. */
  readonly missing: readonly { readonly worker: string; readonly sinceMs: number }[];
  readonly restarts: number;
  /** Number of workers that the run waits for while it gathers. */
  readonly needed: number;
  /** The cause of the last worker's loss, for the message if the run cannot continue. */
  readonly lastLoss: string | undefined;
  /** Set when this term's ring is broken and the cause is not known yet. */
  readonly broken:
    | {
        readonly atMs: number;
        readonly message: string;
        readonly suspect: number | undefined;
        /** A rank does not reach its next one: what the others notice of the ring follows from that. */
        readonly isUnreached: boolean;
      }
    | undefined;
  /** Number of times the ring broke at this step without the loss of a worker. */
  readonly ringFaults: number;
  /** Workers excluded because the ring did not work with them: how often, and until when. */
  readonly absences: readonly { readonly worker: string; readonly times: number; readonly untilMs: number }[];
  /** Set once the run is to end in order, because the user asked for it or because the run gives up. */
  readonly stopRequested: boolean;
  /** The user asked for the end; early stopping and giving up do not. */
  readonly wasAsked: boolean;
  /** A scheduler asked for it, who starts the run again. */
  readonly isToContinue: boolean;
  /** Why the run gives up: it fails with this message once the workers' state is saved. */
  readonly givingUp: string | undefined;
  /** The input is the cause. */
  readonly isUsersFault: boolean;
  /** The members wait for `proceed` after the committed step. */
  readonly holding: boolean;
  /** The checkpoint being written: its step, and the connection that sends it. */
  readonly checkpointInFlight: { readonly step: number; readonly from: string } | undefined;
  /** Step of a checkpoint whose sender was lost, while the coordinator does not know yet whether it was written. */
  readonly checkpointAbandoned: number | undefined;
  /** The newest complete checkpoint, to which the run returns when every state is lost. */
  readonly checkpointStep: number;
  /** The newest step with a snapshot, taken or attempted. */
  readonly snapshotStep: number;
  readonly evaluatedStep: number;
  /** Every evaluation up to `evaluatedStep`, oldest first. */
  readonly evaluations: readonly EvaluatedLoss[];
  /** A due checkpoint was lost; the next boundary writes one. */
  readonly checkpointOwed: boolean;
  /** The iterations whose rollouts are in the journal, ascending. Their samples are used in order, and nobody has used later ones. */
  readonly iterations: readonly KnownIteration[];
  /** The rollouts in progress, or interrupted. */
  readonly rollout: RolloutPhase | undefined;
  /** The number of their parts that were finished when the term was opened. */
  readonly openedAtPart: number;
}

export function initialState(plan: RunPlan, nowMs: number, resumed?: Resumed): RunState {
  const step = resumed?.step ?? plan.startStep;
  const returning = resumed?.workers ?? [];
  // A new replica's state is called step 0, term 0, which must not be confused with the checkpoint's.
  const firstTerm = plan.startsFromCheckpoint && step === 0 ? 1 : 0;
  return {
    plan,
    stage: 'gathering',
    sinceMs: nowMs,
    term: resumed?.term ?? 0,
    step,
    committedTerm: resumed?.committedTerm || firstTerm,
    committed: { sums: noSums, gradNorm: resumed?.gradNorm, learningRate: resumed?.learningRate, worldSize: 0 },
    openedAtStep: undefined,
    skipsInARow: 0,
    appliedStep: step,
    assignedStep: step,
    members: [],
    joiners: [],
    awaited: 0,
    starting: plan.localWorkers.filter((worker) => !returning.includes(worker)),
    missing: returning.map((worker) => ({ worker, sinceMs: nowMs })),
    restarts: 0,
    needed: returning.length > 0 ? returning.length : plan.worldSize,
    lastLoss: undefined,
    broken: undefined,
    ringFaults: 0,
    absences: [],
    stopRequested: false,
    wasAsked: false,
    isToContinue: false,
    givingUp: undefined,
    isUsersFault: false,
    holding: true,
    checkpointInFlight: undefined,
    checkpointAbandoned: undefined,
    checkpointStep: plan.startStep,
    // A step committed before the coordinator was killed may not have a checkpoint yet.
    snapshotStep: plan.startStep,
    evaluatedStep: evaluatedThrough(plan, step, plan.evaluations),
    evaluations: plan.evaluations,
    checkpointOwed: resumed !== undefined && isDeadEnd(plan),
    iterations: knownAtStart(plan, resumed),
    rollout: undefined,
    openedAtPart: 0,
  };
}

/** Whether a run cannot continue from the checkpoint that it starts with, because the rollouts of its iteration are not known. */
function isDeadEnd({ rollouts, startStep }: RunPlan): boolean {
  return rollouts !== undefined && rollouts.known === undefined && startStep % rollouts.stepsPerIteration !== 0;
}

/** That of the checkpoint, and that of the killed coordinator, which is the same or a later one. */
function knownAtStart({ rollouts }: RunPlan, resumed: Resumed | undefined): KnownIteration[] {
  const known = [rollouts?.known, resumed?.rollouts].filter((found) => found !== undefined);
  return known.filter(({ iteration }, i) => !known.slice(i + 1).some((later) => later.iteration === iteration));
}
