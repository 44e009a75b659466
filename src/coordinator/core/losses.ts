/**
 * Workers that are lost: their connection, their process, or their computation. However many are lost together, one membership follows. Pure,
 * a part of decide.ts.
 */
import { isWorthRestart, nextRestart } from '../../base/restarts.ts';
import type { WorkerPhase } from '../../comm/messageFields.ts';
import type { WorkerFailure } from '../../comm/workerMessages.ts';
import { after, everyone, factsOf, fail, nameOf, nothing, withoutSource, workerOf } from './decisionParts.ts';
import type { Decision, Effect } from './effects.ts';
import { whenApplied } from './reports.ts';
import type { LossEvent } from './runEvents.ts';
import type { Member, RunState } from './runState.ts';
import { reform, tryToOpen } from './terms.ts';

/** The phases of a worker before it is admitted to the ring. */
const newcomerPhases: readonly WorkerPhase[] = ['starting', 'building', 'waiting for work'];

/** A worker that is lost. */
export interface LostMember {
  readonly member: Member;
  /** Completes "rank 1 …". */
  readonly cause: string;
  /** It cannot return, because its process has ended. */
  readonly isDead?: boolean;
}

/** They are gone, and the others continue or wait. */
export function lose(state: RunState, lost: readonly LostMember[], nowMs: number): Decision {
  const ids = new Set(lost.map(({ member }) => member.id));
  const stays = ({ id }: Member) => !ids.has(id);
  const names = new Set(lost.map(({ member }) => member.worker));
  const { state: known, effects: abandon } = withoutSource(state, ids);
  const message = describe(lost);
  const mayReturn = lost.filter(({ isDead = false }) => !isDead);
  const without: RunState = {
    ...known,
    members: state.members.filter(stays),
    joiners: state.joiners.filter(stays),
    missing: [
      ...state.missing.filter(({ worker }) => !names.has(worker)),
      ...mayReturn.map(({ member: { worker } }) => ({ worker, sinceMs: nowMs })),
    ],
    lastLoss: message,
  };
  const wasInRing = lost.some(({ member: { rank } }) => rank >= 0);
  const next = afterLoss(without, wasInRing, nowMs, message, abandon.length > 0);
  const action = next.action ?? next.reason;
  const events = lost.map(({ member, cause }): Effect => {
    const event = {
      event: 'lost',
      reason: textOf({ member, cause }),
      cause,
      action,
      ...factsOf(state, member),
    } as const;
    return { kind: 'event', event, show: member.rank >= 0 || state.term > 0 };
  });
  return after([...events, ...abandon], { ...next, effects: next.effects.map(alreadyTold) });
}

function describe(lost: readonly LostMember[]): string {
  const [first, ...others] = lost;
  const more = others.length === 0 ? '' : `; ${others.length} more ${others.length === 1 ? 'is' : 'are'} lost with it`;
  return first === undefined ? 'nobody is lost' : `${textOf(first)}${more}`;
}

function textOf({ member, cause }: LostMember): string {
  const { phase, step, rank } = member;
  return `${nameOf(member)} ${cause}${rank < 0 ? '' : ` in step ${step} during ${phase}`}`;
}

/** The description of the loss has named the resulting membership. */
function alreadyTold(effect: Effect): Effect {
  if (effect.kind !== 'event' || effect.event.event !== 'term') return effect;
  return { ...effect, event: { ...effect.event, isTold: true } };
}

function afterLoss(state: RunState, wasInRing: boolean, nowMs: number, why: string, wasSource: boolean): Decision {
  // It may have been the last member that had not applied the committed step.
  const reported = whenApplied(state, nowMs);
  const next = reported.state;
  if (next.stage === 'gathering') return after(reported.effects, tryToOpen(next, nowMs, why));
  if (!wasInRing) return after(reported.effects, nothing(next, 'the others continue'));
  // The ring has no more work.
  if (next.stage === 'finishing' && !wasSource) return after(reported.effects, nothing(next, 'its work was done'));
  return after(reported.effects, reform(next, nowMs, why));
}

/** Connections and processes that have ended, and with them their members. */
export function onLosses(state: RunState, events: readonly LossEvent[], nowMs: number): Decision {
  const lost = new Map<string, LostMember>();
  const effects: Effect[] = [];
  const reasons: string[] = [];
  let next = state;
  let isWorkerLost = false;
  for (const event of events) {
    const member = event.kind === 'peerGone' ? workerOf(next, event.id) : processOf(next, event);
    if (event.kind === 'peerGone') {
      if (member === undefined) reasons.push(`${event.id}, which is not a member, is gone`);
      else if (!lost.has(member.id)) lost.set(member.id, { member, cause: `is gone (${event.reason})` });
      continue;
    }
    const { worker, description, failure, clean } = event;
    if (failure !== undefined && isHopeless(state, member, failure)) {
      const message = member === undefined ? `worker ${worker} ${description}` : failedMessage(member, failure);
      return fail(state, message, failure.blame === 'user' ? 'user' : 'run');
    }
    const exited = withoutProcess(next, event, member);
    next = exited.state;
    effects.push(...exited.effects);
    if (member !== undefined) lost.set(member.id, { member, cause: description, isDead: true });
    else {
      reasons.push(`worker ${worker} ${description}`);
      if (!clean) {
        isWorkerLost = true;
        next = { ...next, lastLoss: next.lastLoss ?? `worker ${worker} ${description} before it joined` };
      }
    }
  }
  if (lost.size > 0) return after(effects, lose(next, [...lost.values()], nowMs));
  const reason = reasons.join('; ');
  const isWaiting = isWorkerLost && next.stage === 'gathering';
  return after(effects, isWaiting ? tryToOpen(next, nowMs, reason) : nothing(next, reason));
}

type Exit = Extract<LossEvent, { kind: 'workerExited' }>;

function processOf(state: RunState, { worker, pid }: Exit): Member | undefined {
  return everyone(state).find((other) => other.worker === worker && other.pid === pid);
}

/** A local process has ended. A replacement is started if that may help. */
function withoutProcess(
  state: RunState,
  { worker, failure, clean }: Exit,
  member: Member | undefined,
): { state: RunState; effects: Effect[] } {
  const gone = {
    ...state,
    starting: state.starting.filter((name) => name !== worker),
    missing: state.missing.filter((other) => other.worker !== worker),
  };
  // At the end, a replacement has work only if this worker was sending the last checkpoint.
  const isNeeded = state.stage !== 'finishing' || state.checkpointInFlight?.from === member?.id;
  const again =
    isWorthRestart({ clean, blame: failure?.blame }) &&
    isNeeded &&
    !everyone(state).some((other) => other.worker === worker && other !== member);
  return again ? startAgain(gone, worker) : { state: gone, effects: [] };
}

/**
 * Failures that would hit every other worker as well, or this one again. If a newcomer fails, or is refused for lack of room, the
 * running workers continue.
 */
function isHopeless(state: RunState, member: Member | undefined, { blame, phase }: WorkerFailure): boolean {
  if (state.term === 0) return blame !== 'peer';
  const wasAtWork = member === undefined ? !newcomerPhases.includes(phase) : member.rank >= 0;
  return blame === 'user' && wasAtWork;
}

/** Starts a local worker again after a pause, if restarts are left. */
export function startAgain(state: RunState, worker: string): { state: RunState; effects: Effect[] } {
  const { plan, restarts } = state;
  const restart = nextRestart(restarts, plan.restartsMax);
  if (restart === undefined) return { state, effects: [] };
  const { afterMs, announcement } = restart;
  const reason = `worker ${worker} is ${announcement}`;
  const event = { event: 'restart', reason, worker, term: state.term, step: state.step } as const;
  return {
    state: { ...state, restarts: restarts + 1, starting: [...state.starting, worker] },
    effects: [
      { kind: 'event', event, show: true },
      { kind: 'startWorker', worker, afterMs },
    ],
  };
}

function failedMessage(member: Member, { step, phase, message }: WorkerFailure): string {
  return `${nameOf(member)} failed in step ${step} during ${phase}: ${message}`;
}

/** A member reports that it cannot continue. Its process ends and is then replaced. */
export function onFailed(state: RunState, member: Member, failed: WorkerFailure, nowMs: number): Decision {
  if (isHopeless(state, member, failed))
    return fail(state, failedMessage(member, failed), failed.blame === 'user' ? 'user' : 'run');
  const { phase, step, message } = failed;
  return lose(state, [{ member: { ...member, phase, step }, cause: `failed: ${message}` }], nowMs);
}
