/**
 * The decisions of a run as one pure function: (state, event, now) → (state, effects, reason). It has no clock, socket, file or
 * randomness: coordinator.ts supplies events, and effectRunner.ts carries out the effects. A step is committed only when every member has
 * reduced it, so every replica applies it or none does. Its parts: membership.ts and losses.ts (workers come and go), deadlines.ts (waiting),
 * ringFaults.ts, terms.ts (who is in the ring), stepping.ts (the sequence of steps), rollingOut.ts (samples that the model writes).
 *
 * It follows the decision cores of raft and torchft: the same state and event give the same decision.
 */
import { InvariantError } from '../../base/errors.ts';
import { isReport } from '../../comm/hostReports.ts';
import type { WorkerMessage } from '../../comm/workerMessages.ts';
import { onTick } from './deadlines.ts';
import { fence, finish, nothing, refuse, seen, workerOf } from './decisionParts.ts';
import type { Decision } from './effects.ts';
import { onFailed, onLosses } from './losses.ts';
import { onJoin, onLeave, onPrepared, onUnfit } from './membership.ts';
import { onReports } from './reports.ts';
import { onRingBroken } from './ringFaults.ts';
import { onRolloutsFailed, onRolloutsWritten } from './rollingOut.ts';
import type { RunEvent } from './runEvents.ts';
import type { RunState } from './runState.ts';
import { atBoundary, onEvaluated, onReady, onRolledOut, onSnapshotTaken } from './stepping.ts';
import { endGathering, tryToOpen } from './terms.ts';

export function decide(state: RunState, event: RunEvent, nowMs: number): Decision {
  const decision = respond(state, event, nowMs);
  const { maxSteps } = decision.state.plan;
  if (maxSteps === state.plan.maxSteps) return decision;
  return { ...decision, effects: [{ kind: 'lengthChanged', maxSteps }, ...decision.effects] };
}

function respond(state: RunState, event: RunEvent, nowMs: number): Decision {
  if (state.stage === 'finished' || state.stage === 'failed') {
    // A worker that joins now would otherwise wait for an answer.
    const isJoin = event.kind === 'message' && event.message.type === 'join';
    return isJoin ? refuse(state, event.from, 'the run is over') : nothing(state);
  }
  switch (event.kind) {
    case 'message':
      return onMessage(state, event.from, event.message, nowMs);
    case 'reports':
      return onReports(state, event.reports, nowMs);
    case 'malformed':
      return onMalformed(state, event);
    case 'unfit':
      return onUnfit(state, event, nowMs);
    case 'peerGone':
    case 'workerExited':
      return onLosses(state, [event], nowMs);
    case 'losses':
      return onLosses(state, event.losses, nowMs);
    case 'checkpointWritten':
    case 'checkpointFailed':
      return onCheckpointEnded(state, event, nowMs);
    case 'rolloutsWritten':
      return onRolloutsWritten(state, event, nowMs, atBoundary);
    case 'rolloutsFailed':
      return onRolloutsFailed(state, event, nowMs, atBoundary);
    case 'stopRequested':
      return onStopRequested(state, event, nowMs);
    case 'tick':
      return onTick(state, nowMs);
    default:
      throw new InvariantError(`unknown event ${JSON.stringify(event satisfies never)}`);
  }
}

function onMessage(before: RunState, from: string, message: WorkerMessage, nowMs: number): Decision {
  if (isReport(message)) return onReports(before, [{ from, message }], nowMs);
  const state = seen(before, from, nowMs);
  if (message.type === 'join') return onJoin(state, from, message, nowMs);
  const member = workerOf(state, from);
  if (member === undefined) return fence(state, from, message.type);
  switch (message.type) {
    case 'prepared':
      return onPrepared(state, member, message, nowMs);
    case 'ready':
      return onReady(state, member, message, nowMs);
    case 'evaluated':
      return onEvaluated(state, member, message, nowMs);
    case 'rolledOut':
      return onRolledOut(state, member, message, nowMs);
    case 'snapshotTaken':
      return onSnapshotTaken(state, member, message, nowMs);
    case 'ringBroken':
      return onRingBroken(state, member, message, nowMs);
    case 'leave':
      return onLeave(state, member, nowMs);
    case 'failed':
      return onFailed(state, member, message, nowMs);
    case 'referenceWanted':
    case 'trace':
    case 'stateChunk':
    case 'stateAck':
      return nothing(state);
    default:
      throw new InvariantError(`unknown message ${JSON.stringify(message satisfies never)}`);
  }
}

/** An abandoned checkpoint may have been written, too. */
function onCheckpointEnded(
  state: RunState,
  { kind, step }: Extract<RunEvent, { kind: 'checkpointWritten' | 'checkpointFailed' }>,
  nowMs: number,
): Decision {
  const wasAbandoned = state.checkpointAbandoned === step;
  if (!wasAbandoned && state.checkpointInFlight?.step !== step) return nothing(state);
  const ended = wasAbandoned ? { checkpointAbandoned: undefined } : { checkpointInFlight: undefined };
  const isWritten = kind === 'checkpointWritten';
  const next: RunState = {
    ...state,
    ...ended,
    ...(isWritten && { checkpointStep: step }),
    ...(isWritten && wasAbandoned && { checkpointOwed: false, snapshotStep: Math.max(step, state.snapshotStep) }),
  };
  const reason = `the checkpoint of step ${step} ${isWritten ? 'is written' : 'failed'}`;
  return next.stage === 'gathering' ? tryToOpen(next, nowMs, reason) : atBoundary(next, nowMs, reason);
}

/** Invalid messages are dropped. A member that sends only those counts as silent and is lost. */
function onMalformed(state: RunState, { from, problem }: Extract<RunEvent, { kind: 'malformed' }>): Decision {
  const who = workerOf(state, from) !== undefined ? from : `${from}, which is not a worker of this run`;
  const message = `ignored a message of ${who}: ${problem}`;
  return { state, effects: [{ kind: 'warn', message, ofStranger: true }], reason: message };
}

function onStopRequested(
  state: RunState,
  { isToContinue = false }: Extract<RunEvent, { kind: 'stopRequested' }>,
  nowMs: number,
): Decision {
  // A person who asks too does not want it started again, nor does one who asked before.
  const wantsMore = isToContinue && (state.isToContinue || !state.wasAsked);
  const next = { ...state, stopRequested: true, wasAsked: true, isToContinue: wantsMore };
  const reason = 'the run will stop after this step';
  if (state.stage === 'gathering') return endGathering(next, nowMs, reason);
  if (state.stage === 'forming' && state.step === state.plan.startStep) return finish(next, [], reason);
  return atBoundary(next, nowMs, reason);
}
