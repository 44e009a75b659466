/**
 * What members report in every step: that its gradients are reduced, that it is applied, and signs of life. Reports of the workers of one host may come
 * together (comm/hostReports.ts); one that comes alone is a group of one, so there is one way through here. Pure, a part of decide.ts.
 */
import { skippedStepsMax } from '../../base/lossScaling.ts';
import type { Sums } from '../../base/sums.ts';
import type { WorkerMessageOf } from '../../comm/workerMessages.ts';
import {
  after,
  awaiting,
  everyone,
  fail,
  fence,
  firstDifference,
  idle,
  isDue,
  learningRateOf,
  nothing,
  required,
  staleReason,
  sumsOf,
  trainingPhase,
  withMembers,
  workerOf,
} from './decisionParts.ts';
import { endDiverged, isSkipped, notFinite } from './divergence.ts';
import type { Decision, Effect, RankReport } from './effects.ts';
import { listOf, withEach } from './roster.ts';
import type { Report } from './runEvents.ts';
import { draftOf, type Member, type MemberDraft, type RunState } from './runState.ts';
import { assignAhead, atBoundary, isBoundaryNeeded, stepDone } from './stepping.ts';

/** Weight of the newest speed measurement. */
const speedWeight = 0.2;

/** The answer tells a worker in a long step that the coordinator lives. */
const heartbeat = { type: 'heartbeat' } as const;

/** Decides what follows when each of these workers has reported: the same as if the reports had come one after the other, and no loss between them. */
export function onReports(state: RunState, reports: readonly Report[], nowMs: number): Decision {
  const members: Member[] = [];
  const effects: Effect[] = [];
  const reasons: string[] = [];
  let news: 'reduced' | 'applied' | undefined;
  for (const { from, message } of reports) {
    const member = workerOf(state, from);
    if (member === undefined) {
      const fenced = fence(state, from, message.type);
      effects.push(...fenced.effects);
      reasons.push(fenced.reason);
      continue;
    }
    const { type } = message;
    if (type === 'heartbeat') effects.push({ kind: 'send', to: from, message: heartbeat });
    if (type === 'heartbeat' || type === 'phase') {
      members.push(withSign(member, message, nowMs));
      continue;
    }
    const reported = type === 'reduced' ? withReduced(state, member, message) : withApplied(state, member, message);
    if (reported !== undefined) news = type;
    else reasons.push(staleReason(state, member, `${type} of step ${message.step}`));
    const seen = reported ?? draftOf(member);
    seen.lastSeenMs = nowMs;
    members.push(seen);
  }
  const next = withMembers(state, members);
  const sequel =
    news === 'reduced' ? whenReduced(next, nowMs) : news === 'applied' ? whenApplied(next, nowMs) : nothing(next);
  if (effects.length === 0 && reasons.length === 0) return sequel;
  reasons.push(...(sequel.reason === '' ? [] : [sequel.reason]));
  return { ...after(effects, sequel), reason: reasons.join('; ') };
}

/** The worker with the phase it is in, and whether its ring moves. */
function withSign(member: Member, message: WorkerMessageOf<'heartbeat' | 'phase'>, nowMs: number): Member {
  const { phase, step } = message;
  const frames = message.type === 'heartbeat' ? message.ringFrames : (member.ring?.frames ?? 0);
  const isSame = frames === member.ring?.frames && phase === member.phase && step === member.step;
  const draft = draftOf(member);
  draft.lastSeenMs = nowMs;
  draft.phase = phase;
  draft.step = step;
  if (!isSame) draft.ring = { frames, sinceMs: nowMs };
  return draft;
}

/** Undefined if the report is not of the step that the run is at. */
function withReduced(
  state: RunState,
  member: Member,
  { term, step, sampleFrom, sampleCount, sums, gradNorm }: WorkerMessageOf<'reduced'>,
): MemberDraft | undefined {
  if (state.stage !== 'stepping' || term !== state.term || step !== state.step + 1) return undefined;
  const draft = draftOf(member);
  draft.phase = 'waiting for commit';
  draft.step = step;
  draft.reduced = { step, sampleFrom, sampleCount, sums, gradNorm };
  return draft;
}

/** What a rank has reduced. */
interface Share {
  readonly rank: number;
  readonly sampleFrom: number;
  readonly sampleCount: number;
  readonly sums: Sums;
  readonly gradNorm: number;
}

/** The commit, if every member has reduced the next step. */
function whenReduced(state: RunState, nowMs: number): Decision {
  const step = state.step + 1;
  const waiting = awaiting(state, ({ reduced }) => reduced?.step !== step);
  if (waiting !== undefined) return nothing(waiting);
  const { plan, members, term } = state;
  // Field by field, as every object of which there is one for each rank and step.
  const shares = members.map(({ rank, reduced }): Share => {
    const { sampleFrom, sampleCount, sums, gradNorm } = required(reduced);
    return { rank, sampleFrom, sampleCount, sums, gradNorm };
  });
  const gap = firstGap(shares, plan.globalBatchSize);
  if (gap !== undefined) return fail(state, `the samples of step ${step} were not each computed exactly once: ${gap}`);
  const hold = step === plan.maxSteps || isBoundaryNeeded(state, step, nowMs);
  const hash = isDue(step, plan.hashEverySteps);
  const sums = sumsOf(shares);
  // The sum is the same on every rank, but its squared norm differs between instruction sets.
  const { gradNorm } = required(shares[0]);
  // The scale of the loss is too large at first, perhaps several times; not so often.
  const skips = isSkipped(state, gradNorm) ? state.skipsInARow + 1 : 0;
  const problem = notFinite(sums, 0 < skips && skips <= skippedStepsMax ? 0 : gradNorm, step);
  if (problem !== undefined) return endDiverged(state, problem, nowMs);
  const learningRate = learningRateOf(state, step);
  const committed = { sums, gradNorm, learningRate, worldSize: members.length };
  const ranks = shares.map(({ rank, sampleFrom, sampleCount }) => ({ rank, sampleFrom, sampleCount }));
  const commit = { type: 'commit', term, step, learningRate, gradNorm, hash, hold } as const;
  const effects: Effect[] = [{ kind: 'committed', term, step, learningRate, sums, gradNorm, ranks, hold }];
  if (skips > 0) effects.push(skipped(state, step));
  for (const { id } of listOf(members)) effects.push({ kind: 'send', to: id, message: commit });
  const holds = { step, term };
  const { state: assigned, effects: ahead } = assignAhead({
    ...state,
    members: withEach(members, (member): Member => {
      const { sampleFrom, sampleCount } = required(member.reduced);
      const draft = draftOf(member);
      draft.phase = 'optimizer';
      draft.holds = holds;
      draft.took = { step, rank: member.rank, sampleFrom, sampleCount };
      return draft;
    }),
    step,
    committedTerm: term,
    committed,
    holding: hold,
    ringFaults: 0,
    skipsInARow: skips,
    sinceMs: nowMs,
  });
  return { state: assigned, effects: effects.concat(ahead), reason: `every member reduced step ${step}` };
}

/** For people: nothing is wrong with the run. */
function skipped({ term }: RunState, step: number): Effect {
  const reason = `a gradient of step ${step} is too large for float16: the step is skipped, and the scale of the loss is halved`;
  return { kind: 'event', event: { event: 'skipped', reason, term, step }, show: true };
}

/** The first gap or overlap of the shares of the global batch. */
function firstGap(shares: readonly { rank: number; sampleFrom: number; sampleCount: number }[], total: number) {
  let next = 0;
  for (const { rank, sampleFrom, sampleCount } of shares) {
    if (sampleFrom !== next) return `rank ${rank} began at ${sampleFrom}, expected ${next}`;
    next += sampleCount;
  }
  return next === total ? undefined : `they are ${next} of ${total}`;
}

/** Undefined if the report is not of the committed step, or if every member has applied that already. */
function withApplied(
  state: RunState,
  member: Member,
  { term, step, timings, ringBytesSent, parameterHash }: WorkerMessageOf<'applied'>,
): MemberDraft | undefined {
  const { took } = member;
  if (term !== state.committedTerm || step !== state.step || took?.step !== step) return undefined;
  if (state.appliedStep === step) return undefined;
  const rate = took.sampleCount / Math.max(timings.forwardBackwardMs, 0.01);
  const speed = member.speed === 0 ? rate : (1 - speedWeight) * member.speed + speedWeight * rate;
  const draft = draftOf(member);
  draft.phase = state.holding ? idle.phase : trainingPhase;
  if (!state.holding) draft.step = step + 1;
  draft.speed = speed;
  draft.applied = { step, timings, ringBytesSent, parameterHash };
  return draft;
}

/** Whether every living member that took part in the committed step has applied it. */
export function whenApplied(state: RunState, nowMs: number): Decision {
  const { step } = state;
  const isMissing = ({ took, applied }: Member) => took?.step === step && applied?.step !== step;
  const waiting = awaiting(state, isMissing);
  if (waiting !== undefined) return nothing(waiting);
  const took = everyone(state).filter((member) => member.took?.step === step);
  if (state.appliedStep === step || took.length === 0 || took.some(isMissing)) return nothing(state);
  const diverged = firstDifference(took);
  if (diverged !== undefined) return fail(state, `replicas differ after step ${step}: ${diverged}`);
  const ranks = took.map(({ took: share, applied }): RankReport => {
    const { timings, ringBytesSent, parameterHash } = required(applied);
    return { rank: required(share).rank, timings, ringBytesSent, parameterHash };
  });
  const done = stepDone(state, ranks);
  return after([done], atBoundary({ ...state, appliedStep: step }, nowMs, `every member applied step ${step}`));
}
