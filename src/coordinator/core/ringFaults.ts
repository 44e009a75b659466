/**
 * Rings that break although every worker lives, because a connection between two ranks is cut, perhaps silently. The same ring is
 * formed again; if that fails too, one of the two workers must leave and may return later. Pure, a part of decide.ts.
 */
import type { WorkerMessageOf } from '../../comm/workerMessages.ts';
import { after, nameOf, nothing, seconds, stale, withAbsence, withMember } from './decisionParts.ts';
import type { Decision, Effect } from './effects.ts';
import { lose } from './losses.ts';
import type { Member, RunState } from './runState.ts';
import { reform } from './terms.ts';

/** Time after a ring breaks in which its cause may become known. */
export const causeGraceMs = 1_000;
/** Number of times the ring may break at one step, without the loss of a worker, before a rank must leave. */
const ringFaultsMax = 2;

/** What to do where two ranks do not reach each other. */
const unreachedRemedy =
  'open all TCP ports between the two machines, or let both join by addresses of a network that both are in';

export function onRingBroken(
  state: RunState,
  member: Member,
  report: WorkerMessageOf<'ringBroken'>,
  nowMs: number,
): Decision {
  if (report.term !== state.term || state.stage === 'gathering') return stale(state, member, 'a broken ring');
  const { suspect, unreached } = report;
  const isUnreached = unreached !== undefined;
  const message = isUnreached
    ? `${nameOf(member)} cannot reach ${suspectOf(state, suspect)} at ${unreached}: ${unreachedRemedy}`
    : `the ring of ${nameOf(member)} broke: ${report.message}`;
  const earlier = state.broken?.isUnreached || !isUnreached ? state.broken : undefined;
  const broken = earlier ?? { atMs: state.broken?.atMs ?? nowMs, message, suspect, isUnreached };
  const ring = { frames: report.ringFrames, sinceMs: nowMs };
  const known = withMember(state, { ...member, step: report.step, ring });
  return nothing({ ...known, broken }, `${message}; looking for the cause`);
}

function suspectOf({ members }: RunState, suspect: number): string {
  const member = members.at(suspect);
  return member === undefined ? `rank ${suspect}` : nameOf(member);
}

/**
 * A silently cut connection: every rank is done or waits for frames, and none has received one for as long as a worker may be
 * silent.
 */
export function stuckRing(state: RunState, nowMs: number): RunState['broken'] {
  const { stage, holding, step, plan } = state;
  if (stage !== 'stepping' || holding) return undefined;
  const waiting = unfinished(state);
  const isStuck = ({ phase, ring, step: at }: Member) =>
    phase === 'all-reduce' && at === step + 1 && ring !== undefined && nowMs - ring.sinceMs > plan.heartbeatTimeoutMs;
  const [first] = waiting;
  if (first?.ring === undefined || !waiting.every(isStuck)) return undefined;
  const message = `${nameOf(first)} has waited ${seconds(nowMs - first.ring.sinceMs)} for a frame of the ring in step ${step + 1}, and no other rank has received one`;
  return { atMs: nowMs, message, suspect: undefined, isUnreached: false };
}

/** The same while the state goes round: a rank receives nothing for as long, although the one before it has more of the state. */
export function stuckTransfer({ stage, members, plan }: RunState, nowMs: number): RunState['broken'] {
  if (stage !== 'forming') return undefined;
  const has = ({ holds, ring }: Member) => (holds === undefined ? (ring?.frames ?? 0) : Number.POSITIVE_INFINITY);
  const isStuck = (member: Member) => {
    const { phase, ring, rank, follows = false, holds } = member;
    const before = members.at((rank + members.length - 1) % members.length);
    const isWaiting = follows && holds === undefined && phase === 'receiving state' && ring !== undefined;
    return (
      isWaiting && before !== undefined && has(before) > ring.frames && nowMs - ring.sinceMs > plan.heartbeatTimeoutMs
    );
  };
  const stuck = members.find(isStuck);
  if (stuck?.ring === undefined) return undefined;
  const message = `${nameOf(stuck)} has waited ${seconds(nowMs - stuck.ring.sinceMs)} for the state, of which the rank before it has more`;
  const suspect = (stuck.rank + members.length - 1) % members.length;
  return { atMs: nowMs, message, suspect, isUnreached: false };
}

/** Every worker lives, but the ring does not work: retry with the same members, and finally without the one to blame. */
export function onRingFault(state: RunState, broken: NonNullable<RunState['broken']>, nowMs: number): Decision {
  const { message } = broken;
  const next = { ...state, broken: undefined, ringFaults: state.ringFaults + 1 };
  const culprit = next.ringFaults > ringFaultsMax ? culpritOf(state, broken.suspect) : undefined;
  if (culprit === undefined) {
    const warning = { event: 'warning', reason: message, term: state.term, step: state.step } as const;
    return after([{ kind: 'event', event: warning, show: true }], reform(next, nowMs, message));
  }
  const { held, pauseMs } = withAbsence(next, culprit.worker, nowMs);
  const reason = `the ring broke ${next.ringFaults} times in step ${state.step + 1}; it may come back in ${seconds(pauseMs)}`;
  const fenced: Effect = { kind: 'send', to: culprit.id, message: { type: 'fenced', reason } };
  const cause = `stays out of the ring for ${seconds(pauseMs)}, because the ring does not work with it (${message})`;
  return after([fenced], lose(held, [{ member: culprit, cause }], nowMs));
}

/**
 * The connection to the rank that has received the least is broken: other ranks only lack what that rank would have forwarded. One of
 * its two ends must leave, preferably one that this machine did not start.
 */
function culpritOf(state: RunState, suspect: number | undefined): Member | undefined {
  const { members, plan } = state;
  if (members.length < 2) return undefined;
  const at = (rank: number) => members.at((rank + members.length) % members.length);
  // Before the first step no frames say more than the report.
  if (state.stage === 'forming' && suspect !== undefined) {
    return [at(suspect), at(suspect - 1)].find((end) => !plan.localWorkers.includes(end?.worker ?? '')) ?? at(suspect);
  }
  const [least, next] = unfinished(state);
  const isKnown = least?.ring !== undefined && (next === undefined || least.ring.frames < (next.ring?.frames ?? 0));
  if (!isKnown) return suspect === undefined ? at((least?.rank ?? 0) - 1) : at(suspect);
  const ends = [at(least.rank - 1), least];
  return ends.find((end) => end !== undefined && !plan.localWorkers.includes(end.worker)) ?? ends[0];
}

/** Ranks that have not reduced the step, starting with the one that has received the least. */
function unfinished({ members, step }: RunState): Member[] {
  const frames = ({ ring }: Member) => ring?.frames ?? 0;
  const waiting = members.filter(({ reduced }) => reduced?.step !== step + 1);
  return waiting.sort((a, b) => frames(a) - frames(b) || a.rank - b.rank);
}
